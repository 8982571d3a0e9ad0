use std::io;

use cache_key::SnapshotSpec;
use cache_layer::{CacheLayer, KeyLock, LayerError, Snapshot};

use super::Outbox;
use super::entry::{Entry, LastError};
use super::layout::Name;
use super::retry::{Failed, Verdict, decide};
use super::stats::Dropped;

/// An upload that is written down. Whoever holds its lock makes it.
///
/// Dropped, it stays written down, and others may make it.
#[derive(Debug)]
#[must_use = "the upload is free for others as soon as this is dropped"]
pub(crate) struct Ticket {
    outbox: Outbox,
    pub(super) entry: Entry,
    /// `None` while another process has it.
    lock: Option<KeyLock>,
}

/// What became of an upload that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is nothing more to do: the remote layer has it, or it is dropped.
    Over,
    /// It failed, and is to be tried again.
    Again,
}

impl Outbox {
    /// Writes down that `snapshot`, which was asked for as `spec`, is to be uploaded to `layer`.
    ///
    /// On the disk when this returns: to be called before any local layer keeps the snapshot.
    pub(crate) async fn announce(
        &self,
        spec: &SnapshotSpec,
        snapshot: &Snapshot,
        layer: &dyn CacheLayer,
    ) -> io::Result<Ticket> {
        let entry = Entry::new(spec, snapshot, layer.name(), layer.to_string(), self.now());
        self.on(move |outbox| {
            let lock = outbox.add(&entry)?;
            outbox.0.counters.added();
            Ok(Ticket {
                outbox: outbox.clone(),
                entry,
                lock,
            })
        })
        .await
    }

    /// The upload of this name, unless somebody is at it or it is over.
    pub(super) async fn take(&self, name: Name) -> io::Result<Option<Ticket>> {
        self.on(move |outbox| {
            let Some(lock) = outbox.0.journal.try_lock(&name)? else {
                return Ok(None);
            };
            // Only now: whoever had the lock may have made it.
            Ok(outbox.read(&name).map(|entry| Ticket {
                outbox: outbox.clone(),
                entry,
                lock: Some(lock),
            }))
        })
        .await
    }
}

impl Ticket {
    /// Waits for the right to make the upload. `None` if whoever had it made it, or it was dropped.
    pub(crate) async fn claim(mut self) -> io::Result<Option<Self>> {
        if self.lock.is_some() {
            return Ok(Some(self));
        }
        let name = self.entry.name();
        self.lock = Some(self.outbox.0.journal.lock(&name).await?);
        let is_there = self
            .outbox
            .on(move |outbox| outbox.read(&name).is_some())
            .await;
        Ok(is_there.then_some(self))
    }

    /// The remote layer has it.
    pub(crate) async fn delivered(self) {
        self.outbox.0.counters.delivered();
        // Whoever wrote it down meanwhile wanted the same in the same place.
        self.close(|outbox, entry| outbox.0.journal.remove(&entry.name()))
            .await;
    }

    /// It was not to be uploaded from here after all.
    pub(crate) async fn withdraw(self) {
        self.close(remove_same).await;
    }

    /// No local layer has the snapshot any more.
    pub(super) async fn gone(self) {
        self.outbox.0.counters.dropped(Dropped::Gone);
        tracing::warn!(key = %self.entry.key, remote = self.entry.remote, "an upload is dropped: the snapshot is not on this host any more");
        self.withdraw().await;
    }

    /// It was tried, and failed.
    pub(crate) async fn failed(self, error: &LayerError) -> Outcome {
        let now = self.outbox.now();
        let failed = Failed {
            kind: error.kind(),
            attempts: self.entry.attempts + 1,
            added_at: self.entry.added_at,
        };
        let verdict = decide(&self.outbox.0.limits, failed, now, fastrand::f64());
        let Verdict::Again { at } = verdict else {
            self.outbox.0.counters.dropped(Dropped::Failed);
            let attempts = failed.attempts;
            tracing::warn!(key = %self.entry.key, remote = self.entry.remote, attempts, "an upload is given up");
            self.withdraw().await;
            return Outcome::Over;
        };
        let last_error = LastError::new(error, now);
        self.close(move |outbox, entry| {
            let update = |current: Entry| Entry {
                attempts: failed.attempts,
                next_try: at,
                last_error: Some(last_error),
                ..current
            };
            let changed = outbox.0.journal.change(&entry.name(), |current| {
                Some(match is_same(&current, entry) {
                    true => update(current),
                    false => current,
                })
            });
            changed.map(drop)
        })
        .await;
        Outcome::Again
    }

    /// Does the last thing to the entry, and lets go of it.
    async fn close(self, last: impl FnOnce(&Outbox, &Entry) -> io::Result<()> + Send + 'static) {
        let outbox = self.outbox.clone();
        outbox
            .on(move |outbox| {
                if let Err(error) = last(outbox, &self.entry) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(upload = %self.entry.name(), error, "the note of an upload cannot be changed");
                }
            })
            .await;
    }
}

/// Removes `entry`, unless somebody wrote the same upload down anew.
fn remove_same(outbox: &Outbox, entry: &Entry) -> io::Result<()> {
    let removed = outbox.0.journal.change(&entry.name(), |current| {
        (!is_same(&current, entry)).then_some(current)
    });
    removed.map(drop)
}

/// Whether it is the one that was written down then, whatever was noted about it since.
fn is_same(current: &Entry, entry: &Entry) -> bool {
    current.added_at == entry.added_at
}
