use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cache_key::CacheKey;
use cache_layer::{BuildErrorKind, LayerErrorKind};
use tokio::sync::Notify;

use super::Operation;

/// What was called, in order, across all the layers and builders that write into it. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    written: Mutex<Written>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Written {
    entries: Vec<Entry>,
    calls: usize,
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which call it is of, counted from 0 by when they began: the same number in its beginning and its end.
    pub call: usize,
    /// The layer's name, or `builder`.
    pub who: &'static str,
    /// What was asked.
    pub operation: Operation,
    /// About which snapshot.
    pub key: CacheKey,
    /// What happened.
    pub event: Event,
}

/// What happened to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It began.
    Began,
    /// A `get` found it.
    Hit,
    /// A `get` did not.
    Miss,
    /// A `put`, a `remove` or a `build` succeeded.
    Done,
    /// A layer erred.
    Failed(LayerErrorKind),
    /// A builder erred.
    BuildFailed(BuildErrorKind),
    /// The call's future was dropped before its end, or panicked.
    Dropped,
}

impl Journal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.read(<[Entry]>::to_vec)
    }

    /// Who was asked what, in the order in which the calls began.
    #[must_use]
    pub fn calls(&self) -> Vec<(&'static str, Operation)> {
        let call = |entry: &Entry| (entry.who, entry.operation);
        self.read(|entries| began(entries).map(call).collect())
    }

    /// How often `who` was asked for `operation`.
    #[must_use]
    pub fn count(&self, who: &str, operation: Operation) -> usize {
        let is_it = |entry: &&Entry| entry.who == who && entry.operation == operation;
        self.read(|entries| began(entries).filter(is_it).count())
    }

    /// Waits until `reached` says so of what has been written. For an event that is sure to come: it has no
    /// limit of its own.
    pub async fn until(&self, reached: impl Fn(&[Entry]) -> bool) {
        loop {
            // Made before looking, it hears of what is written from here on.
            let changed = self.0.changed.notified();
            if self.read(&reached) {
                return;
            }
            changed.await;
        }
    }

    /// Writes down that a call began.
    pub(super) fn begin(
        &self,
        who: &'static str,
        operation: Operation,
        key: &CacheKey,
    ) -> Call<'_> {
        let mut written = self
            .0
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let entry = Entry {
            call: written.calls,
            who,
            operation,
            key: key.clone(),
            event: Event::Began,
        };
        written.calls += 1;
        written.entries.push(entry.clone());
        drop(written);
        self.0.changed.notify_waiters();
        Call {
            journal: self,
            last: Entry {
                event: Event::Dropped,
                ..entry
            },
        }
    }

    fn read<T>(&self, read: impl FnOnce(&[Entry]) -> T) -> T {
        let written = self
            .0
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        read(&written.entries)
    }
}

fn began(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.event == Event::Began)
}

/// A call under way, whose end is written down however it comes.
#[derive(Debug)]
#[must_use = "the call is over as soon as this is dropped"]
pub(super) struct Call<'a> {
    journal: &'a Journal,
    last: Entry,
}

impl Call<'_> {
    pub(super) fn end(mut self, event: Event) {
        self.last.event = event;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let journal = &self.journal.0;
        let mut written = journal
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        written.entries.push(self.last.clone());
        drop(written);
        journal.changed.notify_waiters();
    }
}

/// A line for each entry, for the message of a failing test.
impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|entries| entries.iter().try_for_each(|entry| writeln!(f, "{entry}")))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call,
            who,
            operation,
            key,
            event,
        } = self;
        write!(f, "{call}: {who} {operation} {key}: {event:?}")
    }
}
