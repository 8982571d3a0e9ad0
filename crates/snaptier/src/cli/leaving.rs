//! What has to be brought to an end before the process may go, also when its command was interrupted: a store is
//! told to forget what it has of an upload that stopped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use l3_remote::RemoteLayer;
use snaptier::SnapshotCache;

/// What may have uploads under way. The command's future is dropped when it is interrupted, and with it whoever
/// could still wait for them.
#[derive(Debug)]
pub(crate) enum Uploader {
    Cache(SnapshotCache),
    Store(RemoteLayer),
}

static UPLOADERS: Mutex<Vec<Uploader>> = Mutex::new(Vec::new());

/// Remembers one that is in use.
pub(crate) fn remember(uploader: Uploader) {
    let mut uploaders = UPLOADERS.lock().unwrap_or_else(PoisonError::into_inner);
    uploaders.push(uploader);
}

/// Stops what is still under way, and waits for the stores to know, at most for `limit`.
pub(crate) async fn leave(limit: Duration) {
    let uploaders = {
        let mut uploaders = UPLOADERS.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *uploaders)
    };
    let leave = async {
        for uploader in uploaders {
            match uploader {
                Uploader::Cache(cache) => drop(cache.shutdown(Duration::ZERO).await),
                Uploader::Store(store) => store.settle().await,
            }
        }
    };
    if tokio::time::timeout(limit, leave).await.is_err() {
        tracing::warn!(
            "a store was not told to forget an upload: the rules of `snaptier remote lifecycle` have it removed"
        );
    }
}
