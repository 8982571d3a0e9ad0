//! Makes the uploads that failed before, and those that other processes left.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cache_layer::{CacheLayer, LayerError, Lookup, Snapshot, Staging};

use super::Outbox;
use super::entry::Entry;
use super::retry::is_due;
use super::ticket::{Outcome, Ticket};
use crate::uploads::{Destination, Shared};

/// Where snapshots are found that are to be uploaded.
#[derive(Debug)]
pub(crate) struct Sources {
    /// In the order in which they are asked.
    pub(crate) layers: Vec<Arc<dyn CacheLayer>>,
    pub(crate) staging: Staging,
}

#[derive(Debug)]
pub(crate) struct Courier {
    pub(crate) outbox: Outbox,
    pub(crate) sources: Sources,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) uploads: Arc<Shared>,
}

/// Another process may write something down at any time, and tells nobody.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);
/// Somebody else is at what is due, and may die.
const HELD_SLEEP: Duration = Duration::from_secs(5);

impl Courier {
    /// Goes round until the hierarchy is shut down; once, if it is already.
    pub(crate) async fn run(self) {
        loop {
            // Asked for before the round, so that nothing that fails during it goes unheard.
            let failed = self.uploads.failed.notified();
            let sleep = match self.round().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(dir = %self.outbox.dir().display(), error, "the outbox cannot be read");
                    LONGEST_SLEEP
                }
            };
            tokio::select! {
                () = self.uploads.closing.cancelled() => return,
                () = failed => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Tries what is due, the oldest first and one at a time. Gives the time until something is due again.
    async fn round(&self) -> io::Result<Duration> {
        let mut failing: Vec<&str> = Vec::new();
        for entry in self.outbox.entries().await? {
            let Some(to) = self.destination(&entry) else {
                continue;
            };
            // Where one just failed, another would too: it waits for a later round.
            if failing.contains(&to.remote()) || !self.is_due(&entry) {
                continue;
            }
            let Some(ticket) = self.outbox.take(entry.name()).await? else {
                continue;
            };
            // Another process may have tried it since it was listed.
            if self.is_due(&ticket.entry) && self.make(ticket, to).await == Outcome::Again {
                failing.push(to.remote());
            }
        }
        self.sleep(&failing).await
    }

    /// How long until something is due again. What waits behind a failure comes when that is due.
    async fn sleep(&self, failing: &[&str]) -> io::Result<Duration> {
        let now = self.outbox.now();
        let entries = self.outbox.entries().await?;
        let ours = entries.iter().filter(|entry| {
            self.destination(entry)
                .is_some_and(|to| entry.next_try > now || !failing.contains(&to.remote()))
        });
        let next = ours.map(|entry| entry.next_try).min();
        Ok(match next {
            None => LONGEST_SLEEP,
            Some(next) if next <= now => HELD_SLEEP,
            Some(next) => LONGEST_SLEEP.min(next.duration_since(now).unsigned_abs()),
        })
    }

    fn is_due(&self, entry: &Entry) -> bool {
        is_due(self.outbox.limits(), entry.next_try, self.outbox.now())
    }

    fn destination(&self, entry: &Entry) -> Option<&Destination> {
        let mut destinations = self.destinations.iter();
        destinations.find(|to| to.remote() == entry.remote)
    }

    /// Tries one upload.
    async fn make(&self, ticket: Ticket, to: &Destination) -> Outcome {
        let snapshot = match self.find(&ticket.entry).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => {
                self.uploads.settled(&ticket.entry.key, to.name());
                ticket.gone().await;
                return Outcome::Over;
            }
            Err(error) => {
                cannot_look(&ticket.entry, &error);
                ticket.failed(&error).await;
                // The remote layer has no part in it.
                return Outcome::Over;
            }
        };
        self.outbox.0.counters.resumed();
        self.uploads.deliver(ticket, &snapshot, to).await
    }

    /// The snapshot, from the first local layer that has it.
    async fn find(&self, entry: &Entry) -> Result<Option<Snapshot>, LayerError> {
        let Some(spec) = entry.spec() else {
            return Ok(None);
        };
        let mut cannot = None;
        for layer in &self.sources.layers {
            match layer.get(&spec, &self.sources.staging).await {
                Ok(Lookup::Hit(snapshot)) => return Ok(Some(snapshot)),
                Ok(Lookup::Miss) => {}
                Err(error) => cannot = Some(error),
            }
        }
        cannot.map_or(Ok(None), Err)
    }
}

fn cannot_look(entry: &Entry, error: &LayerError) {
    let cause: &dyn std::error::Error = error;
    tracing::warn!(key = %entry.key, error = cause, "a snapshot that is to be uploaded cannot be looked at");
}
