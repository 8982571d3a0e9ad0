use std::fmt;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{BuildError, CacheLayer, LayerError, Lookup, Snapshot, SnapshotBuilder, Staging};

use super::journal::Call;
use super::{Event, Journal, Operation};

/// Writes down every call in its [`Journal`]: when it began, and how it ended.
#[derive(Debug, Clone)]
pub struct Recording<T> {
    inner: T,
    journal: Journal,
}

impl<T> Recording<T> {
    /// `inner`, whose calls are written into `journal`.
    pub fn new(inner: T, journal: Journal) -> Self {
        Self { inner, journal }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: CacheLayer> CacheLayer for Recording<T> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        let call = self.begin(Operation::Get, &spec.key());
        let got = self.inner.get(spec, staging).await;
        call.end(match &got {
            Ok(Lookup::Hit(_)) => Event::Hit,
            Ok(Lookup::Miss) => Event::Miss,
            Err(error) => Event::Failed(error.kind()),
        });
        got
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let call = self.begin(Operation::Put, snapshot.key());
        let put = self.inner.put(snapshot).await;
        call.end(end(&put));
        put
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        let call = self.begin(Operation::Remove, key);
        let removed = self.inner.remove(key).await;
        call.end(end(&removed));
        removed
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: SnapshotBuilder> SnapshotBuilder for Recording<T> {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        let call = self.journal.begin("builder", Operation::Build, &spec.key());
        let built = self.inner.build(spec, staging).await;
        call.end(match &built {
            Ok(_) => Event::Done,
            Err(error) => Event::BuildFailed(error.kind()),
        });
        built
    }
}

impl<T: CacheLayer> Recording<T> {
    fn begin(&self, operation: Operation, key: &CacheKey) -> Call<'_> {
        self.journal.begin(self.inner.name(), operation, key)
    }
}

fn end<T>(result: &Result<T, LayerError>) -> Event {
    match result {
        Ok(_) => Event::Done,
        Err(error) => Event::Failed(error.kind()),
    }
}

impl<T: fmt::Display> fmt::Display for Recording<T> {
    /// As what is inside: it is to stand in for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
