use std::fmt;
use std::num::NonZero;
use std::sync::Arc;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    CacheLayer, InPhase, LayerError, LayerErrorKind, Lookup, NoProgress, Phase, ProgressSink,
    Snapshot, Staging,
};
use opendal::{ErrorKind, Operator};
use tokio::sync::Semaphore;

use crate::RemoteLocation;
use crate::fault::layer_error;
use crate::receive::receive;
use crate::send::send;

/// Snapshots in a store that many hosts share.
#[derive(Debug, Clone)]
pub struct RemoteLayer {
    location: RemoteLocation,
    operator: Operator,
    uploads: Arc<Semaphore>,
    workers: usize,
    progress: Arc<dyn ProgressSink>,
}

/// Uploads at once, where nothing else is said.
const MOST_UPLOADS: usize = 4;

impl RemoteLayer {
    /// The tier in the store at `location`. Nothing is asked of the store yet.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](LayerErrorKind::Unavailable): the location lacks something that cannot be found in
    /// the environment either, such as a region.
    pub fn new(location: RemoteLocation) -> Result<Self, LayerError> {
        let operator = location.operator();
        let operator = operator.map_err(|error| layer_error(format!("use {location}"), error))?;
        Ok(Self {
            location,
            operator,
            uploads: Arc::new(Semaphore::new(MOST_UPLOADS)),
            workers: std::thread::available_parallelism().map_or(1, NonZero::get),
            progress: Arc::new(NoProgress),
        })
    }

    /// Runs at most this many uploads at once, at least one; 4 where nothing is said. Others wait.
    #[must_use]
    pub fn with_max_concurrent_uploads(self, uploads: NonZero<usize>) -> Self {
        Self {
            uploads: Arc::new(Semaphore::new(uploads.get())),
            ..self
        }
    }

    /// Reports progress to `sink`.
    #[must_use]
    pub fn with_progress(self, sink: Arc<dyn ProgressSink>) -> Self {
        Self {
            progress: sink,
            ..self
        }
    }
}

fn path(key: &CacheKey) -> String {
    format!("snapshots/{key}.qcow2.zst")
}

#[async_trait]
impl CacheLayer for RemoteLayer {
    fn name(&self) -> &'static str {
        "l3-remote"
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        let progress = self.progress.as_ref();
        let path = path(&spec.key());
        let received =
            receive(&self.operator, &path, spec, staging, self.workers, progress).await?;
        Ok(received.map_or(Lookup::Miss, Lookup::Hit))
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let closed = |error| LayerError::new(LayerErrorKind::Invalid, "upload").with_source(error);
        let _permit = self.uploads.acquire().await.map_err(closed)?;
        let progress = self.progress.as_ref();
        let _phase = InPhase::begin(progress, snapshot.key(), Phase::Upload);
        let path = path(snapshot.key());
        send(&self.operator, &path, snapshot, self.workers, progress).await?;
        Ok(snapshot.clone())
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        let path = path(key);
        match self.operator.delete(&path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(layer_error(format!("remove {path}"), error))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for RemoteLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l3-remote({})", self.location)
    }
}
