use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base_image::{Image, MakeOptions};
use cache_key::{Language, PackageSet, SnapshotSpec};
use cache_layer::{BuildError, NoProgress, ProgressSink, Snapshot, Staging};
use hierarchy::{Answer, Hierarchy, Outbox, Stats, Tier, Unfinished};
use l2_disk::DiskLayer;
use l3_remote::RemoteLayer;
use tempfile::TempDir;
use vm_builder::{GuestCommand, GuestExit, Vms};

use crate::images::{ImageBuilder, Images};
use crate::{Error, OpenError, Settings};

/// The whole cache: local disk, remote store, builder.
///
/// Clones share everything. It needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct SnapshotCache {
    images: Images,
    vms: Vms,
    staging: Staging,
    /// Where the staging lies when the cache directory cannot be written to.
    _scratch: Option<Arc<TempDir>>,
    remote: Option<RemoteLayer>,
    /// `None` where the cache directory cannot be written to.
    outbox: Option<Outbox>,
    hierarchy: Hierarchy,
}

impl SnapshotCache {
    /// Opens the cache as `settings` say. The cache directory is made as needed; nothing is asked of the
    /// remote store yet.
    ///
    /// # Errors
    ///
    /// A directory or the remote store cannot be used.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        Self::open_with_progress(settings, Arc::new(NoProgress))
    }

    /// The same, with progress reported to `progress`.
    ///
    /// # Errors
    ///
    /// A directory or the remote store cannot be used.
    pub fn open_with_progress(
        settings: Settings,
        progress: Arc<dyn ProgressSink>,
    ) -> Result<Self, OpenError> {
        let cache_dir = |source| OpenError::CacheDir {
            path: settings.cache_dir.clone(),
            source,
        };
        let disk = DiskLayer::open(&settings.cache_dir)
            .map_err(cache_dir)?
            .with_budget(settings.budget);
        let (staging, outbox, scratch) = match disk.staging() {
            Some(staging) => {
                let outbox = Outbox::open(staging).map_err(cache_dir)?;
                (staging.clone(), Some(outbox), None)
            }
            // What is built there goes when it is no longer used.
            None => {
                tracing::debug!(
                    "uploads end with this process: there is no outbox in a directory that is only read"
                );
                let scratch = tempfile::tempdir().map_err(cache_dir)?;
                let staging = Staging::open(scratch.path()).map_err(cache_dir)?;
                (staging, None, Some(Arc::new(scratch)))
            }
        };
        let images = settings.image_store().map_err(OpenError::Images)?;
        let vms = Vms::new(settings.vm_host());
        let mut remote_store = None;
        let mut tiers = vec![Tier::local(Arc::new(disk))];
        if let Some(location) = settings.remote {
            let remote = RemoteLayer::new(location)
                .map_err(OpenError::Remote)?
                .with_max_concurrent_uploads(settings.max_concurrent_uploads)
                .with_progress(progress.clone());
            tiers.push(Tier::remote(Arc::new(remote.clone())));
            remote_store = Some(remote);
        }
        let images = Images {
            store: images,
            options: MakeOptions {
                debian_mirror: settings.debian_mirror,
            },
            progress,
        };
        let builder = ImageBuilder {
            images: images.clone(),
            vms: vms.clone(),
        };
        let mut hierarchy = Hierarchy::new(tiers, Arc::new(builder), staging.clone());
        if let Some(outbox) = &outbox {
            hierarchy = hierarchy.with_outbox(outbox.clone());
        }
        Ok(Self {
            images,
            vms,
            staging,
            _scratch: scratch,
            remote: remote_store,
            outbox,
            hierarchy,
        })
    }

    /// The base image of `language`. If there is none it is made, which takes half a minute or more.
    ///
    /// # Errors
    ///
    /// It cannot be made, or cannot be used.
    pub async fn image(&self, language: Language) -> Result<Image, Error> {
        Ok(self.images.find_or_make(language).await?)
    }

    /// The snapshot with `packages`, from the nearest tier that has it, or built.
    ///
    /// What is promised of [`Hierarchy::get`] holds. The first call [resumes](Self::resume) uploads.
    ///
    /// # Errors
    ///
    /// There is no base image and none can be made, or the snapshot can neither be found nor built.
    pub async fn get(&self, packages: &PackageSet) -> Result<Answer, Error> {
        self.resume();
        let image = self.image(packages.language()).await?;
        let spec = SnapshotSpec::new(image.base_image(), packages.clone());
        Ok(self.hierarchy.get(&spec).await?)
    }

    /// Takes up, in the background, the uploads to the remote store that earlier processes left and those that fail.
    /// Further calls do nothing. [`shutdown`](Self::shutdown) waits for those that are due.
    pub fn resume(&self) {
        self.hierarchy.resume();
    }

    /// The uploads that are not over; `None` where the cache directory can only be read.
    #[must_use]
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    /// Runs `command` in a throw-away machine on top of `snapshot`, of which nothing is written to.
    ///
    /// # Errors
    ///
    /// The machine could not be started, or died. A command that fails is no error.
    pub async fn run(
        &self,
        snapshot: &Snapshot,
        command: GuestCommand<'_>,
    ) -> Result<GuestExit, BuildError> {
        let spec = snapshot.manifest().spec();
        let image = self.images.of_digest(spec.language(), spec.base_image());
        let image = image.await?;
        let progress = self.images.progress.as_ref();
        self.vms
            .run(&image, snapshot, &self.staging, progress, command)
            .await
    }

    /// What the tiers and the builder have done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.hierarchy.stats()
    }

    /// Waits for the uploads that are under way, at most for `limit`, then stops them, and has the store forget
    /// what it has of them. Gives those that were not over; the next process that uses the cache directory with
    /// this remote store makes them.
    pub async fn shutdown(&self, limit: Duration) -> Vec<Unfinished> {
        let unfinished = self.hierarchy.shutdown(limit).await;
        if let Some(remote) = &self.remote {
            remote.settle().await;
        }
        unfinished
    }
}

impl fmt::Display for SnapshotCache {
    /// The tiers in the order in which they are asked, then the builder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.hierarchy, f)
    }
}
