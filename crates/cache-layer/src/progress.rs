use std::fmt::{self, Debug};

use cache_key::CacheKey;

/// Where long work reports how far it has come. Handed to a layer or a builder when it is made.
///
/// Called from worker threads; an implementation must return at once.
pub trait ProgressSink: Debug + Send + Sync {
    /// Something happened on the way to the snapshot called `key`.
    fn report(&self, key: &CacheKey, event: ProgressEvent<'_>);
}

/// One step of long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressEvent<'a> {
    /// The phase began.
    Started(Phase),
    /// Bytes moved so far in the phase, of `total` where that is known.
    Bytes {
        /// The phase that moves them.
        phase: Phase,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// A remark from the work itself: a line of the installer, an accelerator that was not there.
    Note(&'a str),
    /// The phase is over, well or badly.
    Finished(Phase),
}

/// The phases a request can go through, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// A snapshot comes from a remote tier.
    Download,
    /// The base image is made.
    Image,
    /// The VM boots until its guest agent answers.
    Boot,
    /// The language's installer runs in the guest.
    Install,
    /// The guest flushes its disk and powers off; the disk is checked.
    ShutDown,
    /// The snapshot goes to a remote tier.
    Upload,
    /// A command runs in a guest on top of the snapshot.
    Run,
}

impl Phase {
    /// The phase in a person's words: `boot`, `shut down`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Image => "image",
            Self::Boot => "boot",
            Self::Install => "install",
            Self::ShutDown => "shut down",
            Self::Upload => "upload",
            Self::Run => "run",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn report(&self, _key: &CacheKey, _event: ProgressEvent<'_>) {}
}

/// The phase that some work is in, reported from its beginning to its end, however that comes.
#[derive(Debug)]
#[must_use = "the phase is over as soon as this is dropped"]
pub struct InPhase<'a> {
    sink: &'a dyn ProgressSink,
    key: &'a CacheKey,
    phase: Phase,
}

impl<'a> InPhase<'a> {
    /// Reports that `phase` began.
    pub fn begin(sink: &'a dyn ProgressSink, key: &'a CacheKey, phase: Phase) -> Self {
        sink.report(key, ProgressEvent::Started(phase));
        Self { sink, key, phase }
    }

    /// Reports that this phase is over and `phase` began.
    pub fn then(self, phase: Phase) -> Self {
        let (sink, key) = (self.sink, self.key);
        drop(self);
        Self::begin(sink, key, phase)
    }
}

impl Drop for InPhase<'_> {
    fn drop(&mut self) {
        self.sink
            .report(self.key, ProgressEvent::Finished(self.phase));
    }
}
