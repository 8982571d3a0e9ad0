//! What is to be uploaded, written down where a crash cannot take it.
//!
//! ```text
//! {root}/.outbox/{key}@{16 hex digits}.json            one upload that is not over; the digits stand for the remote
//! {root}/.outbox/{key}@{16 hex digits}.json.damaged    one that could not be read, set aside
//! {root}/.outbox/locks/{key}@{16 hex digits}           held by whoever is at it, in any process
//! ```
//!
//! One small file for each upload, and no journal that is appended to: a file appears by a rename and goes by an
//! unlink, so that none is ever half there, a damaged one takes no other along, nothing has to be compacted, and
//! processes that share the directory change what is theirs without agreeing on an end of file.
//!
//! An upload is written down before the snapshot is put into any local layer. A process that dies later than that
//! has left word of it; one that dies earlier has left nothing to upload. It goes once the remote layer has
//! stored it. Word of a snapshot that no local layer has any more is dropped.

mod courier;
mod entry;
mod journal;
mod layout;
mod limits;
mod retry;
mod stats;
mod ticket;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cache_key::CacheKey;
use cache_layer::{CacheLayer, KeyLock, Staging, blocking};
use jiff::Timestamp;

pub(crate) use self::courier::{Courier, Sources};
use self::entry::Entry;
pub use self::entry::{LastError, PendingUpload};
use self::journal::Journal;
use self::layout::Name;
pub use self::limits::OutboxLimits;
pub use self::stats::OutboxStats;
use self::stats::{Counters, Dropped};
pub(crate) use self::ticket::{Outcome, Ticket};

/// The uploads that are not over, in files beside the local layer.
///
/// Clones share everything. Any number of processes may use one directory at once: each upload is made by one of
/// them at a time, and what a dead one was at is taken up by the next.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    journal: Journal,
    limits: OutboxLimits,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    counters: Arc<Counters>,
}

impl Outbox {
    /// Opens the outbox in the root of `staging`, making it as needed.
    ///
    /// # Errors
    ///
    /// A directory cannot be made or read.
    pub fn open(staging: &Staging) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            journal: Journal::open(staging)?,
            limits: OutboxLimits::default(),
            clock: Arc::new(Timestamp::now),
            counters: Arc::default(),
        })))
    }

    /// Keeps to `limits` in place of the default ones.
    #[must_use]
    pub fn with_limits(self, limits: OutboxLimits) -> Self {
        let inner = Inner::clone(&self.0);
        Self(Arc::new(Inner { limits, ..inner }))
    }

    /// Asks `clock` what time it is, in place of the system.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let inner = Inner::clone(&self.0);
        Self(Arc::new(Inner {
            clock: Arc::new(clock),
            ..inner
        }))
    }

    /// The directory of the outbox.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.0.journal.dir()
    }

    /// The uploads that are not over, the oldest first, to whatever remote layer. What cannot be read is set aside
    /// with a warning.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub async fn pending(&self) -> io::Result<Vec<PendingUpload>> {
        let entries = self.entries().await?;
        Ok(entries.iter().map(Entry::view).collect())
    }

    /// Makes the uploads of `key` due now, however long they were to wait. Says whether there is one.
    ///
    /// # Errors
    ///
    /// The directory cannot be read or written to.
    pub async fn hasten(&self, key: &CacheKey) -> io::Result<bool> {
        let now = self.now();
        let hasten = move |entry| Entry {
            next_try: now,
            ..entry
        };
        self.change_all(key, move |entry| Some(hasten(entry))).await
    }

    /// Forgets the uploads of `key`. Says whether there was one. One that is under way comes to its end.
    ///
    /// # Errors
    ///
    /// The directory cannot be read or written to.
    pub async fn forget(&self, key: &CacheKey) -> io::Result<bool> {
        self.change_all(key, |_| None).await
    }

    /// Forgets the upload of `key` to `layer`, which has it by now, whoever brought it. Where that cannot be, the
    /// layer is asked once more than is needed.
    pub async fn settle(&self, key: &CacheKey, layer: &dyn CacheLayer) {
        let name = Name::new(key, &layer.to_string());
        let settled = self.on(move |outbox| outbox.0.journal.remove(&name));
        if let Err(error) = settled.await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(%key, %layer, error, "the note of an upload that is over cannot be removed");
        }
    }

    /// What became of uploads since this was opened.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.0.counters.read()
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    fn limits(&self) -> &OutboxLimits {
        &self.0.limits
    }

    /// Runs `work` on a thread that may wait.
    async fn on<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let outbox = self.clone();
        blocking(move || work(&outbox)).await
    }

    /// The oldest first.
    async fn entries(&self) -> io::Result<Vec<Entry>> {
        self.on(Self::read_all).await
    }

    fn read_all(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for name in self.0.journal.names()? {
            entries.extend(self.read(&name));
        }
        entries.sort_by_key(|entry| entry.added_at);
        Ok(entries)
    }

    /// The entry, if it is there and can be read: what is wrong with one stops no other.
    fn read(&self, name: &Name) -> Option<Entry> {
        match self.0.journal.read(name) {
            Ok(entry) => entry,
            Err(journal::ReadError::Malformed(error)) => {
                self.set_aside(name, &error);
                None
            }
            Err(journal::ReadError::Newer { format_version }) => {
                tracing::warn!(upload = %name, format_version, "a newer release is to make an upload: upgrade snaptier");
                None
            }
            Err(journal::ReadError::Io(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(upload = %name, error, "the note of an upload cannot be read");
                None
            }
        }
    }

    fn set_aside(&self, name: &Name, why: &serde_json::Error) {
        let error: &dyn std::error::Error = why;
        match self.0.journal.set_aside(name) {
            Ok(Some(path)) => {
                self.0.counters.set_aside();
                tracing::warn!(path = %path.display(), error, "the note of an upload is damaged and was set aside");
            }
            // Somebody else did, or replaced it.
            Ok(None) => {}
            Err(cannot) => {
                let error: &dyn std::error::Error = &cannot;
                tracing::warn!(upload = %name, error, "the note of an upload is damaged and cannot be set aside");
            }
        }
    }

    async fn change_all(
        &self,
        key: &CacheKey,
        change: impl Fn(Entry) -> Option<Entry> + Send + 'static,
    ) -> io::Result<bool> {
        let key = key.clone();
        self.on(move |outbox| {
            let mut any = false;
            for name in outbox.0.journal.names()? {
                if name.key() == &key {
                    any |= outbox.0.journal.change(&name, &change)?;
                }
            }
            Ok(any)
        })
        .await
    }

    /// Writes `entry` down. Gives the right to make the upload, unless somebody has it.
    fn add(&self, entry: &Entry) -> io::Result<Option<KeyLock>> {
        let name = entry.name();
        // Before it can be seen, or another process could find that no local layer has it yet.
        let lock = self.0.journal.try_lock(&name)?;
        self.make_room(&name)?;
        self.0.journal.write(entry)?;
        Ok(lock)
    }

    /// Drops the oldest of those that nobody is at, until there is room for `new`.
    fn make_room(&self, new: &Name) -> io::Result<()> {
        let others = self.0.journal.names()?;
        let others = others.iter().filter(|name| *name != new).count();
        let mut over = (others + 1).saturating_sub(self.0.limits.max_entries.get());
        if over == 0 {
            return Ok(());
        }
        for entry in self.read_all()? {
            let name = entry.name();
            if over == 0 {
                break;
            }
            if name == *new {
                continue;
            }
            let Some(_lock) = self.0.journal.try_lock(&name)? else {
                continue;
            };
            self.0.journal.remove(&name)?;
            self.0.counters.dropped(Dropped::NoRoom);
            let most = self.0.limits.max_entries;
            tracing::warn!(key = %entry.key, remote = entry.remote, most, "the outbox is full: its oldest upload is dropped");
            over -= 1;
        }
        Ok(())
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("dir", &self.journal.dir())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
