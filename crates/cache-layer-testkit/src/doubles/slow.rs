use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{BuildError, CacheLayer, LayerError, Lookup, Snapshot, SnapshotBuilder, Staging};

use super::Operation;

/// Waits before each call, by tokio's clock: with the clock paused, a test of hours takes no time.
#[derive(Debug, Clone)]
pub struct Slow<T> {
    inner: T,
    delay: Duration,
    operations: Vec<Operation>,
}

impl<T> Slow<T> {
    /// `inner`, each call of which begins `delay` later.
    pub fn by(delay: Duration, inner: T) -> Self {
        Self {
            inner,
            delay,
            operations: Operation::ALL.to_vec(),
        }
    }

    /// Slow in these only; the others go straight through.
    #[must_use]
    pub fn only(self, operations: &[Operation]) -> Self {
        Self {
            operations: operations.to_vec(),
            ..self
        }
    }

    async fn wait(&self, operation: Operation) {
        if self.operations.contains(&operation) {
            tokio::time::sleep(self.delay).await;
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: CacheLayer> CacheLayer for Slow<T> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        self.wait(Operation::Get).await;
        self.inner.get(spec, staging).await
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        self.wait(Operation::Put).await;
        self.inner.put(snapshot).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        self.wait(Operation::Remove).await;
        self.inner.remove(key).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: SnapshotBuilder> SnapshotBuilder for Slow<T> {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        self.wait(Operation::Build).await;
        self.inner.build(spec, staging).await
    }
}

impl<T: fmt::Display> fmt::Display for Slow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slow({}, by {:?})", self.inner, self.delay)
    }
}
