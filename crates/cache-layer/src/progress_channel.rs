use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use cache_key::{CacheKey, Language};
use futures_core::Stream;
use tokio::sync::mpsc;

use crate::{Phase, ProgressEvent, ProgressSink, Subject};

/// A sink of progress and the stream on which it comes out, to be read where and when it suits.
///
/// At most `capacity` events wait to be read, at least one. Work never waits for its watcher: what does not
/// fit is left out, and the next event that does says how many were ([`Progress::missed`]).
///
/// ```
/// use std::sync::Arc;
///
/// use cache_layer::{InPhase, Phase, ProgressSink, WhatHappened, progress_channel};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (sender, mut progress) = progress_channel(1024);
/// // What a builder or a whole cache takes.
/// let sink: Arc<dyn ProgressSink> = Arc::new(sender);
///
/// let key = "python-v0.1-1a2b3c4d-base".parse().unwrap();
/// let phase = InPhase::begin(sink.as_ref(), &key, Phase::Boot);
/// phase.note("slow today");
/// phase.done();
/// drop(sink);
///
/// let mut told = Vec::new();
/// while let Some(progress) = progress.next().await {
///     told.push(match progress.event {
///         WhatHappened::Started(phase) => format!("{phase} of {} began", progress.subject),
///         WhatHappened::Finished(phase) => format!("{phase} is over"),
///         other => format!("{other:?}"),
///     });
/// }
/// assert_eq!(told[0], "boot of python-v0.1-1a2b3c4d-base began");
/// assert_eq!(told[1], r#"Note("slow today")"#);
/// assert_eq!(told[2], "boot is over");
/// # }
/// ```
#[must_use]
pub fn progress_channel(capacity: usize) -> (ProgressSender, ProgressReceiver) {
    let (events, receiver) = mpsc::channel(capacity.max(1));
    let sender = ProgressSender {
        events,
        missed: AtomicU64::new(0),
    };
    (sender, ProgressReceiver(receiver))
}

/// The sink's end of a [`progress_channel`].
#[derive(Debug)]
pub struct ProgressSender {
    events: mpsc::Sender<Progress>,
    missed: AtomicU64,
}

/// The watcher's end of a [`progress_channel`]: a [`Stream`] that ends when the sink is dropped. Dropping it
/// harms no work.
#[derive(Debug)]
pub struct ProgressReceiver(mpsc::Receiver<Progress>);

/// A [`ProgressEvent`] that can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What the work is for.
    pub subject: SubjectBuf,
    /// What happened.
    pub event: WhatHappened,
    /// How many events were left out since the one before.
    pub missed: u64,
}

/// A [`Subject`] that can be kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SubjectBuf {
    /// The snapshot of this name.
    Snapshot(CacheKey),
    /// The base image of this language.
    Image(Language),
}

/// The kinds of [`ProgressEvent`], with words of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhatHappened {
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
    InstallerLine(String),
    /// A try failed in a way that may pass, and there will be another.
    Retrying {
        /// Which one it is: 1 for the first after the one that failed at once.
        retry: u32,
        /// How many there are at most.
        of: u32,
        /// How long it is waited before it.
        wait: Duration,
        /// Whether it goes on in the same virtual machine; a new one is booted otherwise.
        same_vm: bool,
        /// What failed.
        reason: String,
    },
    /// Guests run slower than they could on other hosts.
    Slow {
        /// What executes them: `tcg`.
        accelerator: String,
        /// Why nothing better does.
        why: String,
    },
    /// A remark from the work itself.
    Note(String),
    /// The phase is over, and what it was for is done.
    Finished(Phase),
    /// The phase is over, and what it was for is not done: it failed, or was given up.
    Failed(Phase),
}

impl ProgressSink for ProgressSender {
    fn report(&self, subject: Subject<'_>, event: ProgressEvent<'_>) {
        let missed = self.missed.swap(0, Ordering::Relaxed);
        let progress = Progress {
            subject: subject.into(),
            event: event.into(),
            missed,
        };
        if self.events.try_send(progress).is_err() {
            self.missed.fetch_add(missed + 1, Ordering::Relaxed);
        }
    }
}

impl ProgressReceiver {
    /// The next event; `None` when the sink is gone and all that it took was given out.
    pub async fn next(&mut self) -> Option<Progress> {
        self.0.recv().await
    }
}

impl Stream for ProgressReceiver {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Progress>> {
        self.0.poll_recv(cx)
    }
}

impl SubjectBuf {
    /// The same, borrowed.
    #[must_use]
    pub fn as_subject(&self) -> Subject<'_> {
        match self {
            Self::Snapshot(key) => Subject::Snapshot(key),
            Self::Image(language) => Subject::Image(*language),
        }
    }
}

impl From<Subject<'_>> for SubjectBuf {
    fn from(subject: Subject<'_>) -> Self {
        match subject {
            Subject::Snapshot(key) => Self::Snapshot(key.clone()),
            Subject::Image(language) => Self::Image(language),
        }
    }
}

impl std::fmt::Display for SubjectBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_subject().fmt(f)
    }
}

impl From<ProgressEvent<'_>> for WhatHappened {
    fn from(event: ProgressEvent<'_>) -> Self {
        match event {
            ProgressEvent::Started(phase) => Self::Started(phase),
            ProgressEvent::Bytes { phase, done, total } => Self::Bytes { phase, done, total },
            ProgressEvent::InstallerLine(line) => Self::InstallerLine(line.to_owned()),
            ProgressEvent::Retrying(retrying) => Self::Retrying {
                retry: retrying.retry,
                of: retrying.of,
                wait: retrying.wait,
                same_vm: retrying.same_vm,
                reason: retrying.reason.to_owned(),
            },
            ProgressEvent::Slow { accelerator, why } => Self::Slow {
                accelerator: accelerator.to_owned(),
                why: why.to_owned(),
            },
            ProgressEvent::Note(remark) => Self::Note(remark.to_owned()),
            ProgressEvent::Finished(phase) => Self::Finished(phase),
            ProgressEvent::Failed(phase) => Self::Failed(phase),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn note(sender: &ProgressSender, remark: &str) {
        sender.report(
            Subject::Image(Language::Python),
            ProgressEvent::Note(remark),
        );
    }

    #[tokio::test]
    async fn events_come_out_in_their_order_and_the_stream_ends_with_the_sink() {
        let (sender, receiver) = progress_channel(8);
        let key: CacheKey = "python-v0.1-1a2b3c4d-base".parse().unwrap();
        let retrying = crate::Retrying {
            retry: 1,
            of: 3,
            wait: Duration::from_millis(1500),
            same_vm: true,
            reason: "no network",
        };
        assert_eq!(
            retrying.to_string(),
            "retry 1 of 3 in 1.5 s in the same VM: no network"
        );
        sender.report((&key).into(), ProgressEvent::Retrying(retrying));
        note(&sender, "one");
        drop(sender);
        let told: Vec<_> = receiver.collect().await;
        assert_eq!(told[0].subject.to_string(), key.to_string());
        let expected = WhatHappened::Retrying {
            retry: 1,
            of: 3,
            wait: Duration::from_millis(1500),
            same_vm: true,
            reason: "no network".to_owned(),
        };
        assert_eq!(told[0].event, expected);
        assert_eq!(told[1].event, WhatHappened::Note("one".to_owned()));
        assert_eq!(told.len(), 2);
    }

    #[tokio::test]
    async fn a_watcher_who_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
        let (sender, mut receiver) = progress_channel(2);
        for remark in ["one", "two", "three", "four", "five"] {
            note(&sender, remark);
        }
        assert_eq!(receiver.next().await.unwrap().missed, 0);
        note(&sender, "six");
        let mut next = async || receiver.next().await.unwrap();
        assert_eq!(next().await.event, WhatHappened::Note("two".to_owned()));
        let last = next().await;
        assert_eq!(
            (last.event, last.missed),
            (WhatHappened::Note("six".to_owned()), 3)
        );
        drop(receiver);
        note(&sender, "seven");
    }
}
