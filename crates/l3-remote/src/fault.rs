use cache_layer::{LayerError, LayerErrorKind};
use opendal::ErrorKind;

/// What the caller can do about an error of the store. `context` fits "failed to …".
///
/// A missing object is no error of a layer: who may meet one asks before.
pub(crate) fn layer_error(context: impl Into<String>, error: opendal::Error) -> LayerError {
    let kind = match error.kind() {
        ErrorKind::PermissionDenied => LayerErrorKind::Denied,
        ErrorKind::RateLimited => LayerErrorKind::Unavailable { temporary: true },
        // The store did not keep to its own word about sizes or ranges.
        ErrorKind::RangeNotSatisfied => LayerErrorKind::Corrupt,
        ErrorKind::ConfigInvalid | ErrorKind::Unsupported => {
            LayerErrorKind::Unavailable { temporary: false }
        }
        _ => LayerErrorKind::Unavailable {
            temporary: error.is_temporary(),
        },
    };
    LayerError::new(kind, context).with_source(error)
}
