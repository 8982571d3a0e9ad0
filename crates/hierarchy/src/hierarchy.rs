use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_key::{CanonicalSpec, SnapshotSpec};
use cache_layer::{SnapshotBuilder, Staging};
use tokio::sync::Notify;
use tracing::Instrument;
use tracing::field::Empty;

use crate::builds::Builds;
use crate::flights::Flights;
use crate::level::Level;
use crate::outbox::Sources;
use crate::search::{Found, search, search_or_build};
use crate::tier::Writes;
use crate::uploads::{Destination, Uploads};
use crate::{Answer, GetError, Outbox, Stats, Tier, Unfinished};

/// The cache: tiers, and a builder for what none of them has.
///
/// Clones share everything. It needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct Hierarchy(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) levels: Vec<Arc<Level>>,
    builds: Builds,
    staging: Staging,
    /// By what is asked for and where its base image is: both are part of the answer.
    flights: Flights<(CanonicalSpec, PathBuf), Result<Answer, GetError>>,
    pub(crate) uploads: Uploads,
}

impl Hierarchy {
    /// A cache that asks `tiers` in order and has `builder` build what none of them has.
    ///
    /// Downloads and builds are made in `staging`, which is best on the file system of the first local tier.
    #[must_use]
    pub fn new(
        tiers: impl IntoIterator<Item = Tier>,
        builder: Arc<dyn SnapshotBuilder>,
        staging: Staging,
    ) -> Self {
        let level = |tier| Arc::new(Level::new(tier));
        Self(Arc::new(Inner {
            levels: tiers.into_iter().map(level).collect(),
            builds: Builds::new(builder),
            staging,
            flights: Flights::default(),
            uploads: Uploads::default(),
        }))
    }

    /// Writes uploads down in `outbox` until they are over, so that they survive this process. To be called before
    /// the first `get`; of two outboxes the first one stays.
    #[must_use]
    pub fn with_outbox(self, outbox: Outbox) -> Self {
        self.0.uploads.keep_in(outbox);
        self
    }

    /// Takes up the uploads that the outbox has for these tiers, in the background: those that processes which ended
    /// left, and, for as long as this one lives, those that fail. Further calls do nothing.
    pub fn resume(&self) {
        if self.0.uploads.is_resumed() {
            return;
        }
        let levels = self.0.levels.iter();
        let (remote, local): (Vec<_>, Vec<_>) = levels.partition(|level| level.is_remote());
        let sources = Sources {
            layers: local.iter().map(|level| level.tier.layer.clone()).collect(),
            staging: self.0.staging.clone(),
        };
        let written = remote
            .into_iter()
            .filter(|level| level.tier.writes != Writes::NONE);
        let destinations = written.map(|level| Destination::new(level.clone()));
        self.0.uploads.resume(sources, destinations.collect());
    }

    /// The snapshot of `spec`, from the first tier that has it, or built.
    ///
    /// # Behavior
    ///
    /// - A hit touches no tier below it and no builder. The tiers above it hold it afterwards: local ones by
    ///   the time of the answer, remote ones soon after.
    /// - One build or download per snapshot at a time: among the tasks of this process, and among the
    ///   processes that share the staging directory.
    /// - A tier that errs, or is over its [deadline](crate::Deadlines), is stepped over with a warning, and counted as
    ///   erring, not as missing. One that does so again and again is [left alone](Tier::with_breaker) for a while.
    /// - A tier that is slower than its [hedge](Tier::with_hedge) has the build begin beside it. Of the two, the
    ///   first to have the snapshot gives it, and it is stored once.
    /// - Cancelling (dropping the future) harms nobody else who waits for the same snapshot. When the last one
    ///   leaves, the work stops and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub async fn get(&self, spec: &SnapshotSpec) -> Result<Answer, GetError> {
        let span = tracing::debug_span!("get", key = %spec.key(), outcome = Empty);
        let answer = self.0.get(spec).instrument(span.clone()).await;
        let outcome = answer.as_ref().map(|answer| answer.source.as_str());
        span.record("outcome", outcome.unwrap_or("failed"));
        answer
    }

    /// What the tiers and the builder have done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let levels = self.0.levels.iter();
        Stats {
            layers: levels.map(|level| level.counters.read()).collect(),
            builder: self.0.builds.counters.read(),
        }
    }

    /// Waits for the uploads that are under way, at most for `limit`, then stops them. Gives those that were
    /// not over, which includes those that failed and are to be tried again; nothing waits for that. To be called
    /// last: an upload that begins afterwards may be stopped at once.
    pub async fn shutdown(&self, limit: Duration) -> Vec<Unfinished> {
        self.0.uploads.drain(limit).await
    }
}

impl Inner {
    async fn get(self: &Arc<Self>, spec: &SnapshotSpec) -> Result<Answer, GetError> {
        // Who asks waits for these in any case.
        let nobody = Notify::new();
        let found = search(self.near(), spec, &self.staging, &nobody).await;
        if let Some((index, snapshot)) = found {
            return Ok(self.keep(spec, Found::At(index, snapshot)).await);
        }
        let whole = (spec.canonical(), spec.base_image().path().to_owned());
        let fetch = || {
            let (inner, spec) = (self.clone(), spec.clone());
            async move { inner.fetch(&spec).await }.in_current_span()
        };
        let key = spec.key();
        let panicked = |message| GetError::Panicked { key, message };
        self.flights
            .join(whole, fetch, |message| Err(panicked(message)))
            .await
    }

    /// The local tiers before the first remote one: asking them costs too little to be worth sharing.
    fn near(&self) -> &[Arc<Level>] {
        let near = self.levels.iter().position(|level| level.is_remote());
        &self.levels[..near.unwrap_or(self.levels.len())]
    }

    /// What the near tiers do not have: from the others, or built.
    async fn fetch(&self, spec: &SnapshotSpec) -> Result<Answer, GetError> {
        let key = spec.key();
        let lock = self.staging.lock_build(&key).await;
        let _lock = lock.map_err(|error| GetError::Lock {
            key,
            source: Arc::new(error),
        })?;
        // From the top again: another process may have had the lock, and put it there.
        let found = search_or_build(&self.levels, &self.builds, spec, &self.staging).await;
        let found = found.map_err(|error| GetError::Build(Arc::new(error)))?;
        Ok(self.keep(spec, found).await)
    }
}

impl fmt::Display for Hierarchy {
    /// The tiers in the order in which they are asked, then the builder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in &self.0.levels {
            write!(f, "{} → ", level.layer())?;
        }
        write!(f, "{}", self.0.builds.builder)
    }
}
