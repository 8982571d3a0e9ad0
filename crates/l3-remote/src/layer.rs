use std::collections::HashSet;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    CacheLayer, InPhase, LayerError, LayerErrorKind, Lookup, NoProgress, Phase, ProgressSink,
    Snapshot, Staging,
};
use opendal::{Error, ErrorKind, Operator};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::task::TaskTracker;

use crate::bucket::Bucket;
use crate::create::honours_if_not_exists;
use crate::fault::{is_refused, layer_error};
use crate::parts::Parts;
use crate::receive::{Received, Receiver, Wanted};
use crate::send::send;
use crate::{Patience, RemoteLocation, StoreKind};

/// Snapshots in a store that many hosts share. Clones share everything.
#[derive(Debug, Clone)]
pub struct RemoteLayer {
    pub(crate) location: RemoteLocation,
    /// The store for whoever reads, lists and removes.
    pub(crate) store: Operator,
    /// The same for whoever writes, who needs more patience.
    upload_store: Operator,
    pub(crate) bucket: Arc<Bucket>,
    /// Whether the store keeps to "only if it is not there", once that has been seen.
    honours_create: Arc<OnceCell<bool>>,
    /// What was found to be of no use: it may be overwritten.
    unusable: Arc<Mutex<HashSet<CacheKey>>>,
    uploads: Arc<Semaphore>,
    cleaning: TaskTracker,
    pub(crate) workers: usize,
    pub(crate) progress: Arc<dyn ProgressSink>,
    pub(crate) accept_unmanifested: bool,
}

/// Uploads at once, where nothing else is said.
const MOST_UPLOADS: usize = 4;
/// Threads that compress or unpack for one transfer. Four keep up with a fast store, and each has a few
/// frames of memory.
pub const MOST_WORKERS: usize = 4;

impl RemoteLayer {
    /// The tier in the store at `location`. Nothing is asked of the store yet.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](LayerErrorKind::Unavailable): the location lacks something that cannot be found in
    /// the environment either, such as a region.
    pub fn new(location: RemoteLocation) -> Result<Self, LayerError> {
        Self::with_patience(location, &Patience::default())
    }

    /// The same with another patience than the default.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub fn with_patience(
        location: RemoteLocation,
        patience: &Patience,
    ) -> Result<Self, LayerError> {
        let store = location.store().operator();
        let store = store.map_err(|error| layer_error(format!("use {location}"), error))?;
        let store = patience.connected(&store).map_err(|error| {
            let kind = LayerErrorKind::Unavailable { temporary: false };
            LayerError::new(kind, format!("set up connections to {location}")).with_source(error)
        })?;
        let cleaning = TaskTracker::new();
        // It can be waited for at any time; what comes later is tracked all the same.
        cleaning.close();
        Ok(Self {
            accept_unmanifested: location.accepts_unmanifested(),
            location,
            upload_store: patience.writing(store.clone()),
            store: patience.reading(store),
            bucket: Arc::default(),
            honours_create: Arc::default(),
            unusable: Arc::default(),
            uploads: Arc::new(Semaphore::new(MOST_UPLOADS)),
            cleaning,
            workers: std::thread::available_parallelism()
                .map_or(1, NonZero::get)
                .min(MOST_WORKERS),
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

    /// Whether a zstd file that has no manifest of ours is taken for what its name says, once it has been seen
    /// to be a sound overlay. Nothing proves what is in it: only for a bucket that nobody else writes to. What
    /// the location says, if this is not called.
    ///
    /// Such a file may be as large as the disk in its own header and its tables, and at most
    /// [`LARGEST_UNMANIFESTED`](crate::LARGEST_UNMANIFESTED).
    #[must_use]
    pub fn with_accept_unmanifested(self, accept: bool) -> Self {
        Self {
            accept_unmanifested: accept,
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

    /// Where the objects are.
    #[must_use]
    pub fn location(&self) -> &RemoteLocation {
        &self.location
    }

    /// Waits until the store has been told to forget what uploads that were cancelled had sent. Without this,
    /// the end of the runtime may come first, and the parts stay until the bucket's lifecycle removes them.
    pub async fn settle(&self) {
        self.cleaning.wait().await;
    }

    pub(crate) fn receiver<'a>(&'a self, staging: &'a Staging, source: &'a str) -> Receiver<'a> {
        Receiver {
            store: &self.store,
            staging,
            workers: self.workers,
            progress: self.progress.as_ref(),
            accept_unmanifested: self.accept_unmanifested.then_some(source),
        }
    }

    /// Whether an upload is to be one that makes no object where there is one.
    async fn only_new(&self, key: &CacheKey) -> Result<bool, LayerError> {
        let is_unusable = self.unusable().contains(key);
        // Its conditional writer is the one that every emulator takes, and Google keeps to conditions.
        if self.location.kind() == StoreKind::Gcs {
            if is_unusable {
                self.remove(key).await?;
            }
            return Ok(true);
        }
        if is_unusable {
            return Ok(false);
        }
        let store = self.upload_store.clone();
        let probed = self.honours_create.get_or_try_init(|| async move {
            // To its end, even if nobody waits any more: or the probe would stay.
            let probe = self
                .cleaning
                .spawn(async move { honours_if_not_exists(&store).await });
            match probe.await {
                Ok(honours) => honours.map_err(Some),
                Err(_) => Err(None),
            }
        });
        match probed.await {
            Ok(honours) => Ok(*honours),
            // The upload itself will tell what is wrong.
            Err(error) => {
                tracing::debug!(location = %self.location, ?error, "cannot tell whether the store honours conditions");
                Ok(false)
            }
        }
    }

    /// Why the store lets nobody in, if it does not. One that refuses an upload may hang up on its bytes before the
    /// refusal is heard; asked without any, it is.
    async fn refusal(&self, path: &str) -> Option<Error> {
        let looked = self.store.stat(path).await;
        looked.err().filter(is_refused)
    }

    fn unusable(&self) -> MutexGuard<'_, HashSet<CacheKey>> {
        self.unusable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is an object that an upload can leave as it is.
    async fn has(&self, key: &CacheKey, path: &str) -> Result<bool, LayerError> {
        if self.unusable().contains(key) {
            return Ok(false);
        }
        match self.store.stat(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            // Who may write need not be allowed to look; the upload itself will tell.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(layer_error(format!("look for {path}"), error)),
        }
    }
}

pub(crate) fn path(key: &CacheKey) -> String {
    format!("{FOLDER}{key}{SUFFIX}")
}

/// The key whose object is at `path`.
pub(crate) fn key_of(path: &str) -> Option<CacheKey> {
    let key = path.strip_prefix(FOLDER)?.strip_suffix(SUFFIX)?;
    key.parse().ok()
}

pub(crate) const FOLDER: &str = "snapshots/";
const SUFFIX: &str = ".qcow2.zst";

#[async_trait]
impl CacheLayer for RemoteLayer {
    fn name(&self) -> &'static str {
        "l3-remote"
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        let key = spec.key();
        let path = path(&key);
        let source = self.location.to_string();
        let receiver = self.receiver(staging, &source);
        let received = receiver.receive(&path, Wanted::Spec(spec)).await;
        match received {
            Ok(Received::Snapshot(snapshot)) => {
                self.bucket.seen();
                Ok(Lookup::Hit(snapshot))
            }
            Ok(Received::Absent) => {
                let context = format!("look for {path} in {}", self.location);
                self.bucket
                    .require(&self.store, &self.location, &context)
                    .await?;
                Ok(Lookup::Miss)
            }
            Ok(Received::Other) => {
                self.unusable().insert(key);
                Ok(Lookup::Miss)
            }
            Ok(Received::Newer) => Ok(Lookup::Miss),
            Err(error) => {
                if error.kind() == LayerErrorKind::Corrupt {
                    // Whoever builds it now has something better.
                    self.unusable().insert(key);
                }
                Err(error)
            }
        }
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let closed = |error| LayerError::new(LayerErrorKind::Invalid, "upload").with_source(error);
        let _permit = self.uploads.acquire().await.map_err(closed)?;
        let progress = self.progress.as_ref();
        let key = snapshot.key();
        let phase = InPhase::begin(progress, key, Phase::Upload);
        let path = path(key);
        let context = format!("upload {path} to {}", self.location);
        if self.has(key, &path).await? {
            phase.done();
            return Ok(snapshot.clone());
        }
        self.bucket
            .require(&self.store, &self.location, &context)
            .await?;
        let only_new = self.only_new(key).await?;
        let mut parts = Parts::begin(&self.upload_store, &path, only_new, &self.cleaning);
        send(&mut parts, snapshot, self.workers, progress).await?;
        let written = match parts.finish().await {
            Err(error) if error.kind() == ErrorKind::Unexpected => {
                Err(self.refusal(&path).await.unwrap_or(error))
            }
            written => written,
        };
        let written = written.map_err(|error| layer_error(context, error))?;
        tracing::debug!(path, ?written, "uploaded");
        self.unusable().remove(key);
        phase.done();
        Ok(snapshot.clone())
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        let path = path(key);
        match self.store.delete(&path).await {
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
