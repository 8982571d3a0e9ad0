//! Snapshots on their way to remote layers while their askers have long been answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache_key::CacheKey;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Debug, Default)]
pub(crate) struct Uploads {
    tracker: TaskTracker,
    stop: CancellationToken,
    under_way: Arc<Mutex<Vec<Unfinished>>>,
}

/// An upload that was not over when the hierarchy was shut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// What was uploaded.
    pub key: CacheKey,
    /// To which layer.
    pub layer: &'static str,
}

impl Uploads {
    /// Runs `upload` in the background, to its end or until the hierarchy is shut down.
    pub(crate) fn spawn(
        &self,
        what: Unfinished,
        upload: impl Future<Output = ()> + Send + 'static,
    ) {
        let listed = Listed::new(self.under_way.clone(), what);
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            // Stopped, it stays on the list of what is unfinished.
            if stop.run_until_cancelled(upload).await.is_some() {
                listed.remove();
            }
        });
    }

    /// Waits for what is under way, at most for `limit`, then stops it; gives what was not over.
    pub(crate) async fn drain(&self, limit: Duration) -> Vec<Unfinished> {
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait())
            .await
            .is_err()
        {
            self.stop.cancel();
            self.tracker.wait().await;
        }
        std::mem::take(
            &mut *self
                .under_way
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// A line on the list of what is under way.
struct Listed {
    list: Arc<Mutex<Vec<Unfinished>>>,
    what: Unfinished,
}

impl Listed {
    fn new(list: Arc<Mutex<Vec<Unfinished>>>, what: Unfinished) -> Self {
        let listed = Self { list, what };
        listed.locked().push(listed.what.clone());
        listed
    }

    fn remove(self) {
        let mut list = self.locked();
        if let Some(at) = list.iter().position(|unfinished| *unfinished == self.what) {
            list.swap_remove(at);
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Unfinished>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
