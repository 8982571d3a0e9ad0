use std::path::PathBuf;
use std::sync::Arc;

use base_image::{ImageChoice, MakeOptions};
use cache_layer::{NoProgress, ProgressSink, SnapshotBuilder, Staging};
use hierarchy::{Hierarchy, Outbox, Tier};
use l2_disk::{Budget, DiskLayer};
use l3_remote::RemoteLayer;
use tempfile::TempDir;
use vm_builder::Vms;

use crate::images::{ImageBuilder, Images};
use crate::{OpenError, Settings, SnapshotCache};

/// Says how a [`SnapshotCache`] is wired; [`SnapshotCache::builder`] begins one.
///
/// What is not said is as [`Settings::of_user`] has it: the user's own directories, no limit of size, no remote store.
/// The order of calls makes no difference, but for that of tiers.
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is opened before `build`"]
pub struct SnapshotCacheBuilder {
    settings: Option<Settings>,
    cache_dir: Option<PathBuf>,
    budget: Option<Budget>,
    image_dir: Option<PathBuf>,
    image: Option<ImageChoice>,
    remote: Option<String>,
    before: Vec<Tier>,
    after: Vec<Tier>,
    builder: Option<Arc<dyn SnapshotBuilder>>,
    progress: Option<Arc<dyn ProgressSink>>,
}

impl SnapshotCacheBuilder {
    /// All settings at once, those that have no method here among them. What is said by another method goes before what
    /// these say of it.
    pub fn settings(self, settings: Settings) -> Self {
        Self {
            settings: Some(settings),
            ..self
        }
    }

    /// Keeps snapshots in this directory, which is made as needed.
    pub fn cache_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: Some(dir.into()),
            ..self
        }
    }

    /// Has the snapshots in the cache directory take no more room than this.
    pub fn budget(self, budget: Budget) -> Self {
        Self {
            budget: Some(budget),
            ..self
        }
    }

    /// Keeps base images in this directory, which is made when an image is.
    pub fn image_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self {
            image_dir: Some(dir.into()),
            ..self
        }
    }

    /// Uses this one of the base images that this host has, and not the newest.
    pub fn image(self, image: ImageChoice) -> Self {
        Self {
            image: Some(image),
            ..self
        }
    }

    /// Shares snapshots with other hosts by the store of this URI, `s3://BUCKET/PREFIX?region=…&endpoint=…` for instance:
    /// [`RemoteLocation`](l3_remote::RemoteLocation) has all forms. [`build`](Self::build) says when it is none.
    pub fn remote(self, uri: impl Into<String>) -> Self {
        Self {
            remote: Some(uri.into()),
            ..self
        }
    }

    /// Asks `tier` before the cache directory. Of several, the one that is named first is asked first.
    ///
    /// What tiers before the cache directory lack is asked of it, and put into them. One that is
    /// [remote](hierarchy::Reach::Remote) has every hit wait for it.
    pub fn tier_before(mut self, tier: Tier) -> Self {
        self.before.push(tier);
        self
    }

    /// Asks `tier` after the cache directory, and after the remote store if there is one. Of several, the one that is
    /// named first is asked first.
    pub fn tier_after(mut self, tier: Tier) -> Self {
        self.after.push(tier);
        self
    }

    /// Has `builder` build what no tier has, and not a virtual machine over one of this host's base images.
    ///
    /// Then no image is looked for and none is made: the base image is said by whoever asks, with
    /// [`SnapshotCache::get_spec`].
    pub fn built_by(self, builder: Arc<dyn SnapshotBuilder>) -> Self {
        Self {
            builder: Some(builder),
            ..self
        }
    }

    /// Reports to `progress` what takes long: transfers to and from the remote store, making images, building. A builder and
    /// tiers of one's own are given theirs when they are made.
    pub fn progress(self, progress: Arc<dyn ProgressSink>) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }

    /// Opens the cache. The cache directory is made as needed; nothing is asked of the remote store yet.
    ///
    /// # Errors
    ///
    /// A directory or the remote store cannot be used; or there is no home directory, and the cache directory or the
    /// image directory is not named.
    pub fn build(self) -> Result<SnapshotCache, OpenError> {
        let settings = self.whole_settings()?;
        let place = Place::open(&settings)?;
        let progress = self.progress.unwrap_or_else(|| Arc::new(NoProgress));
        let images = Images {
            store: settings.image_store().map_err(OpenError::Images)?,
            options: MakeOptions {
                debian_mirror: settings.debian_mirror.clone(),
            },
            progress: progress.clone(),
        };
        let vms = Vms::new(settings.vm_host());
        let remote = match settings.remote {
            Some(location) => {
                let remote = RemoteLayer::new(location).map_err(OpenError::Remote)?;
                let uploads = settings.max_concurrent_uploads;
                let remote = remote.with_max_concurrent_uploads(uploads);
                Some(remote.with_progress(progress))
            }
            None => None,
        };
        let has_own_builder = self.builder.is_some();
        let builder = self.builder.unwrap_or_else(|| {
            Arc::new(ImageBuilder {
                images: images.clone(),
                vms: vms.clone(),
            })
        });
        let mut tiers = self.before;
        tiers.push(Tier::local(Arc::new(place.disk)));
        tiers.extend(remote.clone().map(|remote| Tier::remote(Arc::new(remote))));
        tiers.extend(self.after);
        let mut hierarchy = Hierarchy::new(tiers, builder, place.staging.clone());
        if let Some(outbox) = &place.outbox {
            hierarchy = hierarchy.with_outbox(outbox.clone());
        }
        Ok(SnapshotCache {
            images,
            has_own_builder,
            vms,
            staging: place.staging,
            _scratch: place.scratch,
            remote,
            outbox: place.outbox,
            hierarchy,
        })
    }

    /// The settings as a whole, with what was said one by one put in.
    fn whole_settings(&self) -> Result<Settings, OpenError> {
        let mut settings = match (&self.settings, &self.cache_dir, &self.image_dir) {
            (Some(settings), _, _) => settings.clone(),
            // Then nothing needs a home directory.
            (None, Some(cache_dir), Some(image_dir)) => Settings::in_dirs(cache_dir, image_dir)?,
            (None, _, _) => Settings::of_user()?,
        };
        if let Some(dir) = &self.cache_dir {
            settings.cache_dir.clone_from(dir);
        }
        if let Some(dir) = &self.image_dir {
            settings.image_dir.clone_from(dir);
        }
        settings.budget = self.budget.unwrap_or(settings.budget);
        if self.image.is_some() {
            settings.image.clone_from(&self.image);
        }
        if let Some(uri) = &self.remote {
            settings.remote = Some(uri.parse().map_err(OpenError::Location)?);
        }
        Ok(settings)
    }
}

/// The cache directory, and where snapshots are made.
struct Place {
    disk: DiskLayer,
    staging: Staging,
    outbox: Option<Outbox>,
    scratch: Option<Arc<TempDir>>,
}

impl Place {
    fn open(settings: &Settings) -> Result<Self, OpenError> {
        let failed = |source| OpenError::CacheDir {
            path: settings.cache_dir.clone(),
            source,
        };
        let disk = DiskLayer::open(&settings.cache_dir)
            .map_err(failed)?
            .with_budget(settings.budget);
        let (staging, outbox, scratch) = match disk.staging() {
            Some(staging) => {
                let outbox = Outbox::open(staging).map_err(failed)?;
                (staging.clone(), Some(outbox), None)
            }
            // What is built there goes when it is no longer used.
            None => {
                tracing::debug!(
                    "uploads end with this process: there is no outbox in a directory that is only read"
                );
                let scratch = tempfile::tempdir().map_err(failed)?;
                let staging = Staging::open(scratch.path()).map_err(failed)?;
                (staging, None, Some(Arc::new(scratch)))
            }
        };
        Ok(Self {
            disk,
            staging,
            outbox,
            scratch,
        })
    }
}
