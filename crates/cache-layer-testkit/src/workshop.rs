use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cache_key::{BaseImage, Language, PackageSet, SnapshotSpec};
use cache_layer::{Snapshot, Staging};
use tempfile::TempDir;

use crate::overlay::{LARGE, Overlay, SMALL, make_base_image};

/// A host in small: a base image, a staging directory, and snapshots of whatever is asked for.
///
/// Its disks are real qcow2 files of no use to a guest. Two snapshots of one spec have different bytes, as two builds
/// have.
#[derive(Debug)]
pub struct Workshop {
    base: BaseImage,
    staging: Staging,
    made: AtomicU64,
    _dir: Option<TempDir>,
}

impl Workshop {
    /// One in a temporary directory, which goes with it.
    ///
    /// # Errors
    ///
    /// A directory or a file cannot be made.
    pub fn new() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let workshop = Self::open(dir.path(), &dir.path().join("cache"))?;
        Ok(Self {
            _dir: Some(dir),
            ..workshop
        })
    }

    /// One whose base image is in the directory `dir`, made if it is not there, and whose staging directory is below
    /// `root`, as that of a process whose fastest layer has its files there.
    ///
    /// # Errors
    ///
    /// A directory or a file cannot be made.
    pub fn open(dir: &Path, root: &Path) -> io::Result<Self> {
        Ok(Self {
            base: make_base_image(std::path::absolute(dir.join("base.qcow2"))?)?,
            staging: Staging::open(root)?,
            made: AtomicU64::new(0),
            _dir: None,
        })
    }

    /// The base image: an empty disk, the same bytes in every workshop.
    #[must_use]
    pub fn base_image(&self) -> &BaseImage {
        &self.base
    }

    /// The staging directory.
    #[must_use]
    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    /// The spec of one Python package, `name==version`, on the base image.
    ///
    /// # Panics
    ///
    /// It is not an exactly pinned package.
    #[must_use]
    pub fn spec(&self, requirement: &str) -> SnapshotSpec {
        let packages = PackageSet::parse(Language::Python, [requirement]);
        let packages = packages.expect("a test asks for an exactly pinned package");
        SnapshotSpec::new(self.base.clone(), packages)
    }

    /// A snapshot of `spec`, some 50 KiB, as a builder leaves it in staging.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn snapshot(&self, spec: &SnapshotSpec) -> io::Result<Snapshot> {
        self.overlay(SMALL).staged(spec, &self.staging)
    }

    /// The same, of some 6 MiB: what takes a while to write or to send.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn large_snapshot(&self, spec: &SnapshotSpec) -> io::Result<Snapshot> {
        self.overlay(LARGE).staged(spec, &self.staging)
    }

    /// A snapshot in the file `path`, which is nobody's: whoever made it may change or remove it at any time.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn snapshot_at(&self, spec: &SnapshotSpec, path: &Path) -> io::Result<Snapshot> {
        self.overlay(SMALL).at(spec, path)
    }

    /// Every file that is staged below the root, by any process.
    ///
    /// # Errors
    ///
    /// A directory cannot be read.
    pub fn staged_files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for area in fs::read_dir(self.staging.root().join(".staging"))? {
            match fs::read_dir(area?.path()) {
                Ok(entries) => {
                    for entry in entries {
                        files.push(entry?.path());
                    }
                }
                // It went meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.retain(|file| file.file_name().is_none_or(|name| name != "owner"));
        Ok(files)
    }

    fn overlay(&self, data_clusters: usize) -> Overlay {
        Overlay {
            data_clusters,
            seed: self.made.fetch_add(1, Ordering::Relaxed),
        }
    }
}
