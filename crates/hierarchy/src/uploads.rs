//! Snapshots on their way to remote layers while their askers have long been answered.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{LayerError, Snapshot};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::level::Level;
use crate::outbox::{Courier, Outbox, Outcome, PendingUpload, Sources, Ticket};

#[derive(Debug, Default)]
pub(crate) struct Uploads {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Where uploads are written down. Without one they end with their process.
    outbox: OnceLock<Outbox>,
    courier: OnceLock<()>,
    shared: Arc<Shared>,
}

/// What every upload is entered in.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Nothing is tried again from here on.
    pub(crate) closing: CancellationToken,
    /// An upload failed that is to be tried again.
    pub(crate) failed: Notify,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    under_way: Vec<Unfinished>,
    /// Failed, and waiting for another try.
    waiting: HashSet<Unfinished>,
}

/// An upload that was not over when the hierarchy was shut down.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unfinished {
    /// What was uploaded.
    pub key: CacheKey,
    /// To which layer.
    pub layer: &'static str,
    /// Whether the outbox has it, so that the next start resumes it.
    pub resumes: bool,
}

/// A remote layer as uploads see it.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    level: Arc<Level>,
    /// What the layer prints of itself.
    remote: String,
}

/// An upload that has not begun.
#[derive(Debug)]
pub(crate) struct Announced {
    to: Destination,
    ticket: Option<Ticket>,
}

impl Destination {
    pub(crate) fn new(level: Arc<Level>) -> Self {
        let remote = level.layer().to_string();
        Self { level, remote }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.level.name()
    }

    pub(crate) fn remote(&self) -> &str {
        &self.remote
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        self.level.put_behind(snapshot).await
    }
}

impl Uploads {
    /// Writes uploads down in `outbox`. The first one that is given stays.
    pub(crate) fn keep_in(&self, outbox: Outbox) {
        let _ = self.outbox.set(outbox);
    }

    /// Tries again, from now on, what is in the outbox for `destinations`. Further calls do nothing.
    pub(crate) fn resume(&self, sources: Sources, destinations: Vec<Destination>) {
        let Some(outbox) = self.outbox.get().filter(|_| !destinations.is_empty()) else {
            return;
        };
        self.courier.get_or_init(|| {
            let courier = Courier {
                outbox: outbox.clone(),
                sources,
                destinations,
                uploads: self.shared.clone(),
            };
            self.spawn(courier.run());
        });
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.courier.get().is_some()
    }

    /// Writes down that `snapshot` is to be uploaded. To be called before any local layer keeps it.
    pub(crate) async fn announce(
        &self,
        to: Destination,
        spec: &SnapshotSpec,
        snapshot: &Snapshot,
    ) -> Announced {
        let mut ticket = None;
        if let Some(outbox) = self.outbox.get() {
            match outbox.announce(spec, snapshot, to.level.layer()).await {
                Ok(announced) => ticket = Some(announced),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    let dir = outbox.dir().display();
                    tracing::warn!(key = %snapshot.key(), %dir, error, "an upload cannot be written down, and ends with this process");
                }
            }
        }
        Announced { to, ticket }
    }

    /// Uploads `snapshot` in the background, to the end of the try or until the hierarchy is shut down. `kept` says
    /// whether a local layer has it: it cannot be found again otherwise.
    pub(crate) fn begin(&self, announced: Announced, snapshot: Snapshot, kept: bool) {
        let Announced { to, ticket } = announced;
        let what = Unfinished {
            key: snapshot.key().clone(),
            layer: to.name(),
            resumes: kept && ticket.is_some(),
        };
        let shared = self.shared.clone();
        // Already, so that a shutdown knows of one that has not come to run.
        let listed = Listed::new(shared.clone(), what);
        let upload = async move {
            let ticket = match ticket {
                Some(ticket) if kept => ticket.claim().await,
                Some(ticket) => {
                    ticket.withdraw().await;
                    return shared.send(listed, &snapshot, &to).await;
                }
                None => return shared.send(listed, &snapshot, &to).await,
            };
            match ticket {
                Ok(Some(ticket)) => {
                    if shared.try_once(listed, ticket, &snapshot, &to).await == Outcome::Again {
                        shared.failed.notify_one();
                    }
                }
                Ok(None) => listed.remove(),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(key = %snapshot.key(), error, "an upload waits for the next start: its lock cannot be had");
                }
            }
        };
        self.spawn(upload.in_current_span());
    }

    /// Waits for what is under way, at most for `limit`, then stops it; gives what was not over.
    pub(crate) async fn drain(&self, limit: Duration) -> Vec<Unfinished> {
        self.shared.closing.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait())
            .await
            .is_err()
        {
            self.stop.cancel();
            self.tracker.wait().await;
        }
        let list = std::mem::take(&mut *self.shared.list());
        let mut unfinished = list.under_way;
        unfinished.extend(self.still_waiting(list.waiting).await);
        unfinished
    }

    /// Those of `waiting` that no other process has made or dropped meanwhile.
    async fn still_waiting(&self, mut waiting: HashSet<Unfinished>) -> HashSet<Unfinished> {
        let outbox = self.outbox.get().filter(|_| !waiting.is_empty());
        if let Some(outbox) = outbox
            && let Ok(pending) = outbox.pending().await
        {
            waiting.retain(|left| {
                let is_it = |it: &PendingUpload| it.key == left.key && it.layer == left.layer;
                pending.iter().any(is_it)
            });
        }
        waiting
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            // Stopped, it stays on the list of what is unfinished.
            let _ = stop.run_until_cancelled(work).await;
        });
    }
}

impl Drop for Uploads {
    /// What is under way comes to its end, and nothing is tried again.
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}

impl Shared {
    /// Tries an upload that was found in the outbox.
    pub(crate) async fn deliver(
        self: &Arc<Self>,
        ticket: Ticket,
        snapshot: &Snapshot,
        to: &Destination,
    ) -> Outcome {
        let what = Unfinished {
            key: snapshot.key().clone(),
            layer: to.name(),
            resumes: true,
        };
        let listed = Listed::new(self.clone(), what);
        self.try_once(listed, ticket, snapshot, to).await
    }

    /// Takes one that waited off the list: there is nothing left to try.
    pub(crate) fn settled(&self, key: &CacheKey, layer: &'static str) {
        self.list().waiting.remove(&Unfinished {
            key: key.clone(),
            layer,
            resumes: true,
        });
    }

    async fn try_once(
        &self,
        listed: Listed,
        ticket: Ticket,
        snapshot: &Snapshot,
        to: &Destination,
    ) -> Outcome {
        let outcome = match to.put(snapshot).await {
            Ok(_) => {
                ticket.delivered().await;
                Outcome::Over
            }
            Err(error) => ticket.failed(&error).await,
        };
        match outcome {
            Outcome::Over => listed.remove(),
            Outcome::Again => listed.wait(),
        }
        outcome
    }

    /// Tries an upload that nobody will try again.
    async fn send(&self, listed: Listed, snapshot: &Snapshot, to: &Destination) {
        let _ = to.put(snapshot).await;
        listed.remove();
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line on the list of what is under way. Dropped, it stays there.
#[must_use = "what is not taken off the list is unfinished"]
struct Listed {
    shared: Arc<Shared>,
    what: Unfinished,
}

impl Listed {
    fn new(shared: Arc<Shared>, what: Unfinished) -> Self {
        shared.list().under_way.push(what.clone());
        Self { shared, what }
    }

    /// It is over.
    fn remove(self) {
        let mut list = self.shared.list();
        self.take_off(&mut list);
        list.waiting.remove(&self.what);
    }

    /// It failed, and is to be tried again.
    fn wait(self) {
        let mut list = self.shared.list();
        self.take_off(&mut list);
        list.waiting.insert(self.what.clone());
    }

    fn take_off(&self, list: &mut List) {
        let mut under_way = list.under_way.iter();
        if let Some(at) = under_way.position(|unfinished| *unfinished == self.what) {
            list.under_way.swap_remove(at);
        }
    }
}
