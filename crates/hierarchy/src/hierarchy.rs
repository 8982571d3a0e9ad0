use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_key::{CanonicalSpec, SnapshotSpec};
use cache_layer::{CacheLayer, LayerError, Lookup, Snapshot, SnapshotBuilder, Staging};
use tracing::Instrument;

use crate::flights::Flights;
use crate::outbox::Sources;
use crate::stats::{BuildCounters, LayerCounters};
use crate::tier::{Reach, Writes};
use crate::uploads::{Destination, Uploads};
use crate::{Answer, GetError, Outbox, Source, Stats, Tier, Unfinished};

/// The cache: tiers, and a builder for what none of them has.
///
/// Clones share everything. It needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct Hierarchy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    levels: Vec<Level>,
    builder: Arc<dyn SnapshotBuilder>,
    staging: Staging,
    /// By what is asked for and where its base image is: both are part of the answer.
    flights: Flights<(CanonicalSpec, PathBuf), Result<Answer, GetError>>,
    uploads: Uploads,
    builds: BuildCounters,
}

#[derive(Debug)]
struct Level {
    tier: Tier,
    counters: Arc<LayerCounters>,
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
        let level = |tier| Level {
            tier,
            counters: Arc::default(),
        };
        Self(Arc::new(Inner {
            levels: tiers.into_iter().map(level).collect(),
            builder,
            staging,
            flights: Flights::default(),
            uploads: Uploads::default(),
            builds: BuildCounters::default(),
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
        let is_local = |level: &&Level| level.tier.reach == Reach::Local;
        let (local, remote): (Vec<_>, Vec<_>) = self.0.levels.iter().partition(is_local);
        let sources = Sources {
            layers: local.iter().map(|level| level.tier.layer.clone()).collect(),
            staging: self.0.staging.clone(),
        };
        let writes = |level: &&&Level| level.tier.writes != Writes::NONE;
        let destinations = remote
            .iter()
            .filter(writes)
            .map(|level| level.destination());
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
    /// - A tier that errs is stepped over with a warning, and counted as erring, not as missing.
    /// - Cancelling (dropping the future) harms nobody else who waits for the same snapshot. When the last one
    ///   leaves, the work stops and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// See [`GetError`].
    pub async fn get(&self, spec: &SnapshotSpec) -> Result<Answer, GetError> {
        let inner = &self.0;
        if let Some(answer) = inner.look(inner.near(), spec).await {
            return Ok(answer);
        }
        let whole = (spec.canonical(), spec.base_image().path().to_owned());
        let fetch = || {
            let (inner, spec) = (inner.clone(), spec.clone());
            async move { inner.fetch(&spec).await }.in_current_span()
        };
        let key = spec.key();
        let panicked = |message| GetError::Panicked { key, message };
        inner
            .flights
            .join(whole, fetch, |message| Err(panicked(message)))
            .await
    }

    /// What the tiers and the builder have done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let levels = self.0.levels.iter();
        Stats {
            layers: levels
                .map(|level| level.counters.read(level.layer().name()))
                .collect(),
            built: self.0.builds.built.read(),
            build_errors: self.0.builds.errors.read(),
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
    /// The local tiers before the first remote one: asking them costs too little to be worth sharing.
    fn near(&self) -> &[Level] {
        let is_remote = |level: &Level| level.tier.reach == Reach::Remote;
        let near = self.levels.iter().position(is_remote);
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
        if let Some(answer) = self.look(&self.levels, spec).await {
            return Ok(answer);
        }
        let built = self.builder.build(spec, &self.staging).await;
        let snapshot = match built {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.builds.errors.add_one();
                return Err(GetError::Build(Arc::new(error)));
            }
        };
        self.builds.built.add_one();
        let (snapshot, kept) = self
            .store(spec, self.levels.iter().rev(), snapshot, |writes| {
                writes.publish
            })
            .await;
        Ok(Answer {
            snapshot,
            source: Source::Built,
            kept,
        })
    }

    /// Asks `levels`, the first ones, in order and puts a hit into all above it.
    async fn look(&self, levels: &[Level], spec: &SnapshotSpec) -> Option<Answer> {
        for (index, level) in levels.iter().enumerate() {
            let Some(snapshot) = level.look(spec, &self.staging).await else {
                continue;
            };
            let above = levels[..index].iter().rev();
            let (snapshot, kept) = self
                .store(spec, above, snapshot, |writes| writes.fill)
                .await;
            return Some(Answer {
                snapshot,
                source: Source::Layer(level.layer().name()),
                kept: kept || level.tier.reach == Reach::Local,
            });
        }
        None
    }

    /// Puts `snapshot` into those of `levels`, from the bottom up, that take it. Gives the copy of the topmost
    /// local one, and whether there is any.
    async fn store<'a>(
        &'a self,
        spec: &SnapshotSpec,
        levels: impl Iterator<Item = &'a Level>,
        mut snapshot: Snapshot,
        takes: impl Fn(Writes) -> bool,
    ) -> (Snapshot, bool) {
        let (local, remote): (Vec<_>, Vec<_>) = levels
            .filter(|level| takes(level.tier.writes))
            .partition(|level| level.tier.reach == Reach::Local);
        // First, so that a process that dies once a local layer has it has left word.
        let mut uploads = Vec::new();
        if !spec.packages().is_empty() {
            for level in remote {
                let upload = self.uploads.announce(level.destination(), spec, &snapshot);
                uploads.push(upload.await);
            }
        }
        let mut kept = false;
        for level in local {
            if let Some(stored) = level.put(&snapshot).await {
                snapshot = stored;
                kept = true;
            }
        }
        for upload in uploads {
            self.uploads.begin(upload, snapshot.clone(), kept);
        }
        (snapshot, kept)
    }
}

impl Level {
    fn layer(&self) -> &dyn CacheLayer {
        self.tier.layer.as_ref()
    }

    async fn look(&self, spec: &SnapshotSpec, staging: &Staging) -> Option<Snapshot> {
        if self.tier.reach == Reach::Remote && spec.packages().is_empty() {
            return None;
        }
        let key = spec.key();
        match self.layer().get(spec, staging).await {
            Ok(Lookup::Hit(snapshot)) => {
                self.counters.hits.add_one();
                tracing::debug!(%key, layer = %self.layer(), "hit");
                Some(snapshot)
            }
            Ok(Lookup::Miss) => {
                self.counters.misses.add_one();
                tracing::debug!(%key, layer = %self.layer(), "miss");
                None
            }
            Err(error) => {
                self.counters.get_errors.add_one();
                warn(self.layer(), &error, "a layer is stepped over");
                None
            }
        }
    }

    async fn put(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        put(self.layer(), &self.counters, snapshot).await.ok()
    }

    fn destination(&self) -> Destination {
        Destination::new(self.tier.layer.clone(), self.counters.clone())
    }
}

/// Puts a snapshot into a layer. An error is counted and told already.
pub(crate) async fn put(
    layer: &dyn CacheLayer,
    counters: &LayerCounters,
    snapshot: &Snapshot,
) -> Result<Snapshot, LayerError> {
    match layer.put(snapshot).await {
        Ok(stored) => {
            counters.puts.add_one();
            tracing::debug!(key = %snapshot.key(), %layer, "stored");
            Ok(stored)
        }
        Err(error) => {
            counters.put_errors.add_one();
            warn(layer, &error, "a layer did not store a snapshot");
            Err(error)
        }
    }
}

fn warn(layer: &dyn CacheLayer, error: &LayerError, message: &str) {
    let kind = error.kind().as_str();
    let cause: &dyn std::error::Error = error;
    tracing::warn!(%layer, kind, error = cause, "{message}");
}

impl fmt::Display for Hierarchy {
    /// The tiers in the order in which they are asked, then the builder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in &self.0.levels {
            write!(f, "{} → ", level.layer())?;
        }
        write!(f, "{}", self.0.builder)
    }
}
