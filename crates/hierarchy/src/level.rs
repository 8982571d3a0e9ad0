use std::fmt;
use std::time::Duration;

use cache_key::SnapshotSpec;
use cache_layer::{CacheLayer, LayerError, LayerErrorKind, Lookup, Snapshot, Staging};
use tokio::sync::Notify;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::breaker::Verdict;
use crate::counters::LayerCounters;
use crate::gate::Gate;
use crate::tier::{Reach, Tier};

/// A tier at work: its calls have deadlines, go through a breaker, and are counted.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) tier: Tier,
    pub(crate) counters: LayerCounters,
    gets: Gate,
    puts: Gate,
}

impl Level {
    pub(crate) fn new(tier: Tier) -> Self {
        let name = tier.layer.name();
        Self {
            counters: LayerCounters::new(name),
            gets: Gate::new(name, "gets", tier.breaker),
            puts: Gate::new(name, "puts", tier.breaker),
            tier,
        }
    }

    pub(crate) fn layer(&self) -> &dyn CacheLayer {
        self.tier.layer.as_ref()
    }

    pub(crate) fn name(&self) -> &'static str {
        self.layer().name()
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.tier.reach == Reach::Remote
    }

    /// What the layer has of `spec`. One that errs, or is left alone, has nothing. `overdue` is told when the tier
    /// takes longer than its hedge.
    pub(crate) async fn look(
        &self,
        spec: &SnapshotSpec,
        staging: &Staging,
        overdue: &Notify,
    ) -> Option<Snapshot> {
        if self.is_remote() && spec.packages().is_empty() {
            return None;
        }
        let span = tracing::debug_span!(
            "look",
            key = %spec.key(),
            layer = self.name(),
            outcome = Empty,
        );
        let looked = self.gated_look(spec, staging);
        match self.tier.hedge {
            Some(hedge) => reminding(looked, hedge, overdue).instrument(span).await,
            None => looked.instrument(span).await,
        }
    }

    async fn gated_look(&self, spec: &SnapshotSpec, staging: &Staging) -> Option<Snapshot> {
        let counters = &self.counters;
        let Some(passage) = self.gets.enter() else {
            counters.gets.skip();
            told("skipped");
            return None;
        };
        let call = counters.gets.begin();
        let looked = within(self.tier.deadlines.get, self.layer().get(spec, staging)).await;
        passage.settle(verdict(&looked));
        match looked {
            Ok(Lookup::Hit(snapshot)) => {
                counters.hits.add(1);
                call.end("hit", snapshot.manifest().disk().file_bytes);
                told("hit");
                Some(snapshot)
            }
            Ok(Lookup::Miss) => {
                counters.misses.add(1);
                call.end("miss", 0);
                told("miss");
                None
            }
            Err(fault) => {
                match &fault {
                    Fault::Layer(error) => counters.get_errors.add(error.kind()),
                    Fault::Deadline(_) => counters.get_errors.add_deadline(),
                }
                call.end(fault.as_str(), 0);
                fault.warn(self.layer(), "a layer is stepped over");
                None
            }
        }
    }

    /// Stores `snapshot` while somebody waits for that, unless the layer is left alone.
    pub(crate) async fn put(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        let Some(passage) = self.puts.enter() else {
            self.counters.puts.skip();
            return None;
        };
        let stored = self.timed_put(snapshot).await;
        passage.settle(verdict(&stored));
        stored.ok()
    }

    /// Stores `snapshot` while nobody waits.
    ///
    /// # Errors
    ///
    /// The layer's, or that it took too long. It is counted, and reported.
    pub(crate) async fn put_behind(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        self.timed_put(snapshot).await.map_err(Fault::into_error)
    }

    async fn timed_put(&self, snapshot: &Snapshot) -> Result<Snapshot, Fault> {
        let span = tracing::debug_span!(
            "store",
            key = %snapshot.key(),
            layer = self.name(),
            outcome = Empty,
        );
        self.counted_put(snapshot).instrument(span).await
    }

    async fn counted_put(&self, snapshot: &Snapshot) -> Result<Snapshot, Fault> {
        let counters = &self.counters;
        let call = counters.puts.begin();
        let stored = within(self.tier.deadlines.put, self.layer().put(snapshot)).await;
        match &stored {
            Ok(stored) => {
                counters.stored.add(1);
                call.end("stored", stored.manifest().disk().file_bytes);
                told("stored");
            }
            Err(fault) => {
                match fault {
                    Fault::Layer(error) => counters.put_errors.add(error.kind()),
                    Fault::Deadline(_) => counters.put_errors.add_deadline(),
                }
                call.end(fault.as_str(), 0);
                fault.warn(self.layer(), "a layer did not store a snapshot");
            }
        }
        stored
    }
}

/// Why a layer gave no answer.
#[derive(Debug)]
enum Fault {
    Layer(LayerError),
    Deadline(Duration),
}

impl Fault {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Layer(error) => error.kind().as_str(),
            Self::Deadline(_) => "deadline",
        }
    }

    fn warn(&self, layer: &dyn CacheLayer, message: &str) {
        let kind = self.as_str();
        told(kind);
        match self {
            Self::Layer(error) => {
                let cause: &dyn std::error::Error = error;
                tracing::warn!(%layer, kind, error = cause, "{message}");
            }
            Self::Deadline(_) => {
                tracing::warn!(%layer, kind, error = %self, "{message}");
            }
        }
    }

    fn into_error(self) -> LayerError {
        match self {
            Self::Layer(error) => error,
            Self::Deadline(_) => {
                let kind = LayerErrorKind::Unavailable { temporary: true };
                LayerError::new(kind, self.to_string())
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(error) => error.fmt(f),
            Self::Deadline(limit) => write!(f, "answer within {limit:?}"),
        }
    }
}

/// What an answer says about the tier, by what its [breaker](Tier::with_breaker) promises.
fn verdict<T>(answer: &Result<T, Fault>) -> Verdict {
    match answer {
        Err(Fault::Deadline(_)) => Verdict::Failed,
        Err(Fault::Layer(error)) => match error.kind() {
            LayerErrorKind::Unavailable { .. } => Verdict::Failed,
            _ => Verdict::Answered,
        },
        Ok(_) => Verdict::Answered,
    }
}

/// The answer, if it comes within `limit`.
async fn within<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, LayerError>>,
) -> Result<T, Fault> {
    let Some(limit) = limit else {
        return answer.await.map_err(Fault::Layer);
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Fault::Layer),
        Err(_) => Err(Fault::Deadline(limit)),
    }
}

/// The answer, however long it takes; `overdue` is told if that is longer than `hedge`.
async fn reminding<T>(answer: impl Future<Output = T>, hedge: Duration, overdue: &Notify) -> T {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = tokio::time::timeout(hedge, &mut answer).await {
        return answer;
    }
    overdue.notify_one();
    answer.await
}

/// Writes the outcome into the span of the call.
fn told(outcome: &'static str) {
    Span::current().record("outcome", outcome);
    tracing::debug!(outcome);
}
