use std::sync::atomic::{AtomicBool, Ordering};

use cache_layer::LayerError;
use futures::TryStreamExt;
use opendal::{Error, ErrorKind, Operator};

use crate::fault::{missing_bucket, names_missing_bucket};
use crate::{RemoteLocation, StoreKind};

/// Whether the bucket is known to be there. Stores answer alike for an object that is not there and for a
/// bucket that is not, so that one is asked for once, when the first object is missed.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    is_there: AtomicBool,
}

impl Bucket {
    /// The bucket was just seen.
    pub(crate) fn seen(&self) {
        self.is_there.store(true, Ordering::Relaxed);
    }

    /// Tells a missing bucket from a missing object. `context` fits "failed to …".
    pub(crate) async fn require(
        &self,
        store: &Operator,
        location: &RemoteLocation,
        context: &str,
    ) -> Result<(), LayerError> {
        let has_buckets = matches!(location.kind(), StoreKind::S3 | StoreKind::Gcs);
        if !has_buckets || self.is_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        match list_one(store).await {
            Ok(()) => self.seen(),
            Err(error) if names_missing_bucket(&error) || error.kind() == ErrorKind::NotFound => {
                return Err(missing_bucket(context).with_source(error));
            }
            // Who may read objects need not be allowed to list them.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => self.seen(),
            Err(error) => {
                tracing::debug!(%location, %error, "cannot tell whether the bucket is there");
            }
        }
        Ok(())
    }
}

/// Asks for the first of the objects.
pub(crate) async fn list_one(store: &Operator) -> Result<(), Error> {
    let mut one = store.lister_with("snapshots/").limit(1).await?;
    one.try_next().await.map(drop)
}
