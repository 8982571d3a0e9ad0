use cache_layer::{LayerError, LayerErrorKind};
use opendal::{Error, ErrorKind};

/// What the caller can do about an error of the store. `context` fits "failed to …".
///
/// A missing object is no error of a layer: who may meet one asks before.
pub(crate) fn layer_error(context: impl Into<String>, error: Error) -> LayerError {
    let context = context.into();
    if names_missing_bucket(&error) {
        return missing_bucket(&context).with_source(error);
    }
    if is_refused(&error) {
        let context = format!("{context}: the store takes no credentials of this host's");
        return LayerError::new(LayerErrorKind::Denied, context).with_source(error);
    }
    let kind = match error.kind() {
        // The store did not keep to its own word about sizes or ranges.
        ErrorKind::RangeNotSatisfied => LayerErrorKind::Corrupt,
        // Somebody else is changing the object just now.
        ErrorKind::RateLimited | ErrorKind::ConditionNotMatch | ErrorKind::Conflict => {
            LayerErrorKind::Unavailable { temporary: true }
        }
        // What was temporary and has been tried often enough comes as persistent.
        _ => LayerErrorKind::Unavailable {
            temporary: error.is_temporary() || error.is_persistent(),
        },
    };
    LayerError::new(kind, context).with_source(error)
}

/// There is no such bucket, and somebody has to make it.
pub(crate) fn missing_bucket(context: &str) -> LayerError {
    let context =
        format!("{context}: there is no such bucket; make it, or name another one in the URI");
    LayerError::new(LayerErrorKind::Unavailable { temporary: false }, context)
}

/// The object's bytes are wrong.
pub(crate) fn corrupt(path: &str) -> LayerError {
    LayerError::new(
        LayerErrorKind::Corrupt,
        format!("take in {path}: it is damaged"),
    )
}

pub(crate) fn names_missing_bucket(error: &Error) -> bool {
    error.message().contains("NoSuchBucket")
}

/// The codes of S3 for credentials that were good once or never, which do not come as 403 everywhere, and
/// what signing says when it finds none.
const REFUSALS: [&str; 7] = [
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "RequestTimeTooSkewed",
];

/// Whether the store lets these credentials do nothing of the kind.
pub(crate) fn is_refused(error: &Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied
        || REFUSALS.iter().any(|code| error.message().contains(code))
        || error.message() == "signing http request" && !error.is_temporary()
        || error.to_string().contains("status: 401")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_store_are_told_apart_by_what_the_caller_can_do() {
        let unavailable = |temporary| LayerErrorKind::Unavailable { temporary };
        let unexpected = |message: &str| Error::new(ErrorKind::Unexpected, message);
        let missing = Error::new(
            ErrorKind::ConfigInvalid,
            r#"S3Error { code: "NoSuchBucket" }"#,
        );
        for (error, kind) in [
            (missing, unavailable(false)),
            (
                Error::new(ErrorKind::PermissionDenied, ""),
                LayerErrorKind::Denied,
            ),
            (
                unexpected(r#"S3Error { code: "ExpiredToken" }"#),
                LayerErrorKind::Denied,
            ),
            (unexpected("signing http request"), LayerErrorKind::Denied),
            (
                unexpected("send http request").set_persistent(),
                unavailable(true),
            ),
            (unexpected("an answer nobody knows"), unavailable(false)),
            (
                Error::new(ErrorKind::ConditionNotMatch, ""),
                unavailable(true),
            ),
            (
                Error::new(ErrorKind::ConfigInvalid, "region is missing"),
                unavailable(false),
            ),
        ] {
            let text = error.to_string();
            assert_eq!(layer_error("look", error).kind(), kind, "{text}");
        }
    }

    #[test]
    fn a_missing_bucket_comes_with_its_remedy() {
        let error = missing_bucket("look").to_string();
        assert_eq!(
            error,
            "look: there is no such bucket; make it, or name another one in the URI"
        );
    }
}
