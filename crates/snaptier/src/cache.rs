use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base_image::Image;
use cache_key::{Language, PackageSet, SnapshotSpec};
use cache_layer::{BuildError, Snapshot, Staging};
use hierarchy::{Answer, Hierarchy, Outbox, Stats, Unfinished};
use l3_remote::RemoteLayer;
use tempfile::TempDir;
use vm_builder::{GuestCommand, GuestExit, Vms};

use crate::images::Images;
use crate::{Error, SnapshotCacheBuilder};

/// The whole cache: local disk, remote store, builder.
///
/// Its [`builder`](Self::builder) says which. Clones share everything. It needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct SnapshotCache {
    pub(crate) images: Images,
    /// Then no base image is looked for, and none is made.
    pub(crate) has_own_builder: bool,
    pub(crate) vms: Vms,
    pub(crate) staging: Staging,
    /// Where the staging lies when the cache directory cannot be written to.
    pub(crate) _scratch: Option<Arc<TempDir>>,
    pub(crate) remote: Option<RemoteLayer>,
    /// `None` where the cache directory cannot be written to.
    pub(crate) outbox: Option<Outbox>,
    pub(crate) hierarchy: Hierarchy,
}

impl SnapshotCache {
    /// How the whole stack is wired, all of it left to its defaults so far.
    pub fn builder() -> SnapshotCacheBuilder {
        SnapshotCacheBuilder::default()
    }

    /// The base image of `language`. If there is none it is made, which takes half a minute or more.
    ///
    /// # Errors
    ///
    /// It cannot be made, or cannot be used.
    pub async fn image(&self, language: Language) -> Result<Image, Error> {
        Ok(self.images.find_or_make(language).await?)
    }

    /// The snapshot with `packages` on the [base image](Self::image) of their language, from the nearest tier that has
    /// it, or built.
    ///
    /// What is promised of [`Hierarchy::get`] holds. The first call [resumes](Self::resume) uploads.
    ///
    /// # Errors
    ///
    /// There is no base image and none can be made, or the snapshot can neither be found nor built. A cache with a
    /// [builder of its own](SnapshotCacheBuilder::built_by) is to be asked with [`get_spec`](Self::get_spec).
    pub async fn get(&self, packages: &PackageSet) -> Result<Answer, Error> {
        let language = packages.language();
        if self.has_own_builder {
            return Err(Error::NoBaseImage { language });
        }
        self.resume();
        let image = self.image(language).await?;
        let spec = SnapshotSpec::new(image.base_image(), packages.clone());
        Ok(self.hierarchy.get(&spec).await?)
    }

    /// The same for packages on a base image that the caller names.
    ///
    /// # Errors
    ///
    /// The snapshot can neither be found nor built. A virtual machine builds over images of the image directory only.
    pub async fn get_spec(&self, spec: &SnapshotSpec) -> Result<Answer, Error> {
        self.resume();
        Ok(self.hierarchy.get(spec).await?)
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
