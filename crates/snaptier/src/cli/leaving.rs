//! What has to be brought to an end before the process may go, also when its command was interrupted: a store is
//! told to forget what it has of an upload that stopped.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hierarchy::Unfinished;
use l3_remote::RemoteLayer;
use snaptier::SnapshotCache;

use super::stats::Ledger;

/// What may have uploads under way. The command's future is dropped when it is interrupted, and with it whoever
/// could still wait for them.
#[derive(Debug)]
pub(crate) enum Uploader {
    /// With it, where what it did is counted.
    Cache(SnapshotCache, Ledger),
    Store(RemoteLayer),
}

static UPLOADERS: Mutex<Vec<Uploader>> = Mutex::new(Vec::new());

/// Remembers one that is in use.
pub(crate) fn remember(uploader: Uploader) {
    let mut uploaders = UPLOADERS.lock().unwrap_or_else(PoisonError::into_inner);
    uploaders.push(uploader);
}

/// Stops what is still under way, and waits for the stores to know, at most for `limit`. Gives the caches that were in
/// use: what they did is counted when nothing runs any more.
pub(crate) async fn leave(limit: Duration) -> Vec<(SnapshotCache, Ledger)> {
    let uploaders = {
        let mut uploaders = UPLOADERS.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *uploaders)
    };
    let leave = async {
        for uploader in &uploaders {
            match uploader {
                Uploader::Cache(cache, _) => tell(&cache.shutdown(Duration::ZERO).await),
                Uploader::Store(store) => store.settle().await,
            }
        }
    };
    if tokio::time::timeout(limit, leave).await.is_err() {
        tracing::warn!(
            "a store was not told to forget an upload: the rules of `snaptier remote lifecycle` have it removed"
        );
    }
    let caches = uploaders.into_iter().filter_map(|uploader| match uploader {
        Uploader::Cache(cache, ledger) => Some((cache, ledger)),
        Uploader::Store(_) => None,
    });
    caches.collect()
}

/// Says what becomes of the uploads that are not over.
pub(crate) fn tell(unfinished: &[Unfinished]) {
    for Unfinished {
        key,
        layer,
        resumes,
    } in unfinished
    {
        if *resumes {
            tracing::warn!(%key, layer, "an upload is not over: the next `snaptier get` or `push` after its wait resumes it, `snaptier outbox retry` does now");
        } else {
            tracing::warn!(%key, layer, "an upload did not finish, and is not resumed: `snaptier push` makes it");
        }
    }
}
