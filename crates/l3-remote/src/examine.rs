//! Trying out a store, and leaving it as it was.

use cache_layer::{LayerError, LayerErrorKind};
use opendal::ErrorKind;

use crate::bucket::list_one;
use crate::create::honours_if_not_exists;
use crate::fault::{layer_error, missing_bucket, names_missing_bucket};
use crate::{RemoteLayer, StoreKind};

/// What a store lets this host do. That it answers, and has the bucket, is seen by then.
#[derive(Debug)]
#[non_exhaustive]
pub struct Examined {
    /// Whether the store keeps to "only if it is not there"; an error if this host may not write to it.
    pub create: Result<bool, LayerError>,
}

impl RemoteLayer {
    /// Reads from the store, and writes a small object that no entry's name is like and removes it again.
    ///
    /// # Errors
    ///
    /// The store does not answer, has no such bucket, or takes no credentials of this host's.
    pub async fn examine(&self) -> Result<Examined, LayerError> {
        let context = || format!("use {}", self.location);
        let has_buckets = matches!(self.location.kind(), StoreKind::S3 | StoreKind::Gcs);
        match list_one(&self.store).await {
            Ok(()) => {}
            Err(error) if names_missing_bucket(&error) => {
                return Err(missing_bucket(&context()).with_source(error));
            }
            Err(error) if error.kind() == ErrorKind::NotFound && has_buckets => {
                return Err(missing_bucket(&context()).with_source(error));
            }
            // Who may read objects need not be allowed to list them.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                match self.store.stat("snapshots/.probe").await {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(layer_error(context(), error));
                    }
                    _ => {}
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(layer_error(context(), error)),
        }
        let create = honours_if_not_exists(&self.store).await;
        let create =
            create.map_err(|error| layer_error(format!("write to {}", self.location), error));
        match create {
            Err(error) if matches!(error.kind(), LayerErrorKind::Unavailable { .. }) => Err(error),
            create => Ok(Examined { create }),
        }
    }
}
