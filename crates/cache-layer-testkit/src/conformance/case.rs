use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{CacheLayer, ContentDigest, LayerError, LayerErrorKind, Lookup, Snapshot};

use super::Place;
use super::deviation::{Deviation, doing, require};
use crate::Workshop;
use crate::overlay::read_backing_file;

/// A layer at a fresh place, and what it takes to try one behaviour of it.
pub struct Case {
    place: Arc<dyn Place>,
    layer: Arc<dyn CacheLayer>,
    workshop: Workshop,
}

/// What a layer finishes behind the scenes it finishes within this time: work on another thread that goes on after
/// its caller went away, a snapshot in use.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// Between two looks at what gives no event.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl Case {
    /// The layer at `place`, opened.
    ///
    /// # Errors
    ///
    /// The base image or the staging directory cannot be made.
    pub async fn at(place: Arc<dyn Place>) -> Result<Self, Deviation> {
        Ok(Self {
            layer: place.open().await,
            workshop: doing("making a base image", place.workshop())?,
            place,
        })
    }

    /// The layer.
    #[must_use]
    pub fn layer(&self) -> &Arc<dyn CacheLayer> {
        &self.layer
    }

    /// The host.
    #[must_use]
    pub fn workshop(&self) -> &Workshop {
        &self.workshop
    }

    /// The layer, opened once more.
    pub(super) async fn open_again(&self) -> Arc<dyn CacheLayer> {
        self.place.open().await
    }

    pub(super) fn spec(&self, requirement: &str) -> SnapshotSpec {
        self.workshop.spec(requirement)
    }

    pub(super) fn snapshot(&self, spec: &SnapshotSpec) -> Result<Snapshot, Deviation> {
        doing("making a snapshot", self.workshop.snapshot(spec))
    }

    pub(super) async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, Deviation> {
        let key = snapshot.key();
        let stored = doing(format!("put of {key}"), self.layer.put(snapshot).await)?;
        let spec = stored.manifest().spec();
        require(spec == snapshot.manifest().spec(), || {
            format!(
                "put of {key} gives the snapshot of another request, {}",
                stored.key()
            )
        })?;
        require_whole(&stored).map(|()| stored)
    }

    /// Makes a snapshot of `spec`, puts it, and gives what was put.
    pub(super) async fn put_new(&self, spec: &SnapshotSpec) -> Result<Snapshot, Deviation> {
        let snapshot = self.snapshot(spec)?;
        self.put(&snapshot).await?;
        Ok(snapshot)
    }

    /// What the layer answers; a hit has been looked at, and is whole and what was asked for.
    pub(super) async fn get(&self, spec: &SnapshotSpec) -> Result<Lookup, Deviation> {
        self.get_from(self.layer.as_ref(), spec).await
    }

    /// It is there, whole and what was asked for, or it is not there.
    pub(super) async fn hit_or_miss(&self, spec: &SnapshotSpec) -> Result<(), Deviation> {
        self.get(spec).await.map(drop)
    }

    pub(super) async fn get_from(
        &self,
        layer: &dyn CacheLayer,
        spec: &SnapshotSpec,
    ) -> Result<Lookup, Deviation> {
        let key = spec.key();
        let got = layer.get(spec, self.workshop.staging()).await;
        let got = doing(format!("get of {key}"), got)?;
        if let Lookup::Hit(snapshot) = &got {
            require_hit(snapshot, spec)?;
        }
        Ok(got)
    }

    pub(super) async fn hit(&self, spec: &SnapshotSpec) -> Result<Snapshot, Deviation> {
        let hit = self.get(spec).await?.hit();
        hit.ok_or_else(|| {
            Deviation::new(format!(
                "{} was put, and get answers with a miss",
                spec.key()
            ))
        })
    }

    pub(super) async fn miss(&self, spec: &SnapshotSpec) -> Result<(), Deviation> {
        let is_hit = self.get(spec).await?.is_hit();
        require(!is_hit, || {
            format!("{} is not there, and get answers with a hit", spec.key())
        })
    }

    /// Removes the entry, as soon as nobody uses it.
    pub(super) async fn remove(&self, key: &CacheKey) -> Result<(), Deviation> {
        let began = Instant::now();
        loop {
            match self.layer.remove(key).await {
                Err(error) if is_in_use(&error) && began.elapsed() < SOON => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                removed => return doing(format!("remove of {key}"), removed),
            }
        }
    }

    /// Waits until nothing is in staging but the files of `kept`. What a layer does on other threads may last a little
    /// longer than its call.
    pub(super) async fn staged_only(&self, kept: &[&Snapshot]) -> Result<(), Deviation> {
        let began = Instant::now();
        loop {
            let staged = doing("reading staging", self.workshop.staged_files())?;
            let is_kept = |file: &PathBuf| kept.iter().any(|snapshot| snapshot.path() == file);
            let Some(left) = staged.into_iter().find(|file| !is_kept(file)) else {
                return Ok(());
            };
            require(began.elapsed() < SOON, || {
                format!("`{}` stays in staging, and nobody holds it", left.display())
            })?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Whether a layer says that an entry is in use, and may be removed later.
pub(super) fn is_in_use(error: &LayerError) -> bool {
    error.kind() == LayerErrorKind::Unavailable { temporary: true }
}

/// Whether a hit is what was asked for, whole, over this host's base image.
pub(super) fn require_hit(snapshot: &Snapshot, spec: &SnapshotSpec) -> Result<(), Deviation> {
    let key = spec.key();
    require(*snapshot.manifest().spec() == spec.canonical(), || {
        format!("get of {key} gives the snapshot of another request")
    })?;
    require_whole(snapshot)?;
    let backing = doing(
        format!("reading the header of the hit of {key}"),
        read_backing_file(snapshot.path()),
    )?;
    let base = spec.base_image().path();
    require(backing.as_deref() == Some(base), || {
        let base = base.display();
        format!("the hit of {key} stands on {backing:?}, and the base image is `{base}`")
    })
}

/// Whether the file is there to its last byte, and is what its manifest says.
pub(super) fn require_whole(snapshot: &Snapshot) -> Result<(), Deviation> {
    let (key, path, disk) = (snapshot.key(), snapshot.path(), snapshot.manifest().disk());
    let at = path.display();
    require(path.is_absolute(), || {
        format!("the path of {key}, `{at}`, is not absolute")
    })?;
    let file = doing(format!("opening {key} at `{at}`"), File::open(path))?;
    let bytes = doing(format!("looking at {key}"), file.metadata())?.len();
    let blake3 = doing(format!("reading {key}"), ContentDigest::of_reader(file))?;
    require(bytes == disk.file_bytes && blake3 == disk.blake3, || {
        format!(
            "the file of {key} has {bytes} bytes with the digest {blake3}, and its manifest says {} with {}",
            disk.file_bytes, disk.blake3
        )
    })
}
