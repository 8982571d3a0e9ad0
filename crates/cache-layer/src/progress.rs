use std::fmt::{self, Debug};
use std::time::Duration;

use cache_key::{CacheKey, Language};

/// Where long work reports how far it has come. Handed to a layer or a builder when it is made.
///
/// Called from worker threads; an implementation must return at once. Whoever would rather read events
/// where it suits them takes a [`progress_channel`](crate::progress_channel).
pub trait ProgressSink: Debug + Send + Sync {
    /// Something happened to the work on `subject`.
    fn report(&self, subject: Subject<'_>, event: ProgressEvent<'_>);
}

/// What long work is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject<'a> {
    /// The snapshot of this name.
    Snapshot(&'a CacheKey),
    /// The base image of this language.
    Image(Language),
}

impl<'a> From<&'a CacheKey> for Subject<'a> {
    fn from(key: &'a CacheKey) -> Self {
        Self::Snapshot(key)
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(key) => fmt::Display::fmt(key, f),
            Self::Image(language) => fmt::Display::fmt(language, f),
        }
    }
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
    /// A line that the installer wrote in the guest, without control characters. A stranger's words.
    InstallerLine(&'a str),
    /// A try failed in a way that may pass, and there will be another.
    Retrying(Retrying<'a>),
    /// Guests run slower than they could on other hosts.
    Slow {
        /// What executes them: `tcg`.
        accelerator: &'a str,
        /// Why nothing better does.
        why: &'a str,
    },
    /// A remark from the work itself.
    Note(&'a str),
    /// The phase is over, and what it was for is done.
    Finished(Phase),
    /// The phase is over, and what it was for is not done: it failed, or was given up. Why, the work itself says at
    /// its end. There may be another try, which [`Retrying`](Self::Retrying) announces.
    Failed(Phase),
}

/// Another try of something that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retrying<'a> {
    /// Which one it is: 1 for the first after the one that failed at once.
    pub retry: u32,
    /// How many there are at most.
    pub of: u32,
    /// How long it is waited before it.
    pub wait: Duration,
    /// Whether it goes on in the same virtual machine; a new one is booted otherwise.
    pub same_vm: bool,
    /// What failed.
    pub reason: &'a str,
}

impl fmt::Display for Retrying<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "retry {} of {} in {:.1} s in {} VM: {}",
            self.retry,
            self.of,
            self.wait.as_secs_f64(),
            if self.same_vm { "the same" } else { "a new" },
            self.reason
        )
    }
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
    /// A snapshot is read and held against its manifest.
    Verify,
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
            Self::Verify => "verify",
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
    fn report(&self, _subject: Subject<'_>, _event: ProgressEvent<'_>) {}
}

/// The phase that some work is in, reported from its beginning to its end, however that comes: it failed, unless
/// it is [`done`](Self::done) before this is dropped.
#[derive(Debug)]
#[must_use = "the phase has failed as soon as this is dropped"]
pub struct InPhase<'a> {
    sink: &'a dyn ProgressSink,
    subject: Subject<'a>,
    phase: Phase,
    is_done: bool,
}

impl<'a> InPhase<'a> {
    /// Reports that `phase` of the work on `subject` began.
    pub fn begin(
        sink: &'a dyn ProgressSink,
        subject: impl Into<Subject<'a>>,
        phase: Phase,
    ) -> Self {
        let subject = subject.into();
        sink.report(subject, ProgressEvent::Started(phase));
        Self {
            sink,
            subject,
            phase,
            is_done: false,
        }
    }

    /// Reports that this phase is over and has done what it was for.
    pub fn done(mut self) {
        self.is_done = true;
    }

    /// The same, and that `phase` began.
    pub fn then(self, phase: Phase) -> Self {
        let (sink, subject) = (self.sink, self.subject);
        self.done();
        Self::begin(sink, subject, phase)
    }

    /// Reports a remark.
    pub fn note(&self, remark: &str) {
        self.report(ProgressEvent::Note(remark));
    }

    /// Reports something that happens in the phase.
    pub fn report(&self, event: ProgressEvent<'_>) {
        self.sink.report(self.subject, event);
    }
}

impl Drop for InPhase<'_> {
    fn drop(&mut self) {
        let event = if self.is_done {
            ProgressEvent::Finished(self.phase)
        } else {
            ProgressEvent::Failed(self.phase)
        };
        self.report(event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Ends(Mutex<Vec<(&'static str, Phase)>>);

    impl ProgressSink for Ends {
        fn report(&self, _: Subject<'_>, event: ProgressEvent<'_>) {
            let end = match event {
                ProgressEvent::Finished(phase) => ("finished", phase),
                ProgressEvent::Failed(phase) => ("failed", phase),
                _ => return,
            };
            self.0.lock().unwrap().push(end);
        }
    }

    #[test]
    fn a_phase_that_is_left_by_an_error_has_failed_and_those_before_it_are_finished() {
        let ends = Ends::default();
        let install = |fails: bool| {
            let phase = InPhase::begin(&ends, Subject::Image(Language::Python), Phase::Boot);
            let phase = phase.then(Phase::Install);
            if fails {
                return Err(());
            }
            phase.done();
            Ok(())
        };
        install(true).unwrap_err();
        install(false).unwrap();
        let expected = [
            ("finished", Phase::Boot),
            ("failed", Phase::Install),
            ("finished", Phase::Boot),
            ("finished", Phase::Install),
        ];
        assert_eq!(*ends.0.lock().unwrap(), expected);
    }
}
