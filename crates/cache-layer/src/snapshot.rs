use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_key::CacheKey;

use crate::Manifest;

/// A qcow2 overlay on this host with the packages in it, plus its manifest.
///
/// It is a guard: whatever keeps its file from being removed (the pin of an L2 entry, a staged file)
/// is held until the last clone is dropped.
///
/// # Behavior
///
/// - The file has the bytes that its manifest says, from the moment that the snapshot is handed out. Nobody writes to
///   it any more.
/// - Clones are cheap, and are one snapshot. Dropping the last one may remove the file, and never blocks for long.
/// - The file's path is not its identity: the same snapshot has another one in each tier.
#[derive(Clone)]
pub struct Snapshot {
    path: PathBuf,
    manifest: Arc<Manifest>,
    hold: Option<Arc<dyn Any + Send + Sync>>,
}

impl Snapshot {
    /// A snapshot whose file nobody else removes.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, manifest: impl Into<Arc<Manifest>>) -> Self {
        Self {
            path: path.into(),
            manifest: manifest.into(),
            hold: None,
        }
    }

    /// Keeps `guard` until the last clone of the snapshot is dropped.
    #[must_use]
    pub fn held_by(mut self, guard: impl Any + Send + Sync) -> Self {
        self.hold = Some(Arc::new(guard));
        self
    }

    /// The qcow2 file: absolute, readable, and not to be written to. Make an overlay of your own over it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in the file.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The snapshot's name.
    #[must_use]
    pub fn key(&self) -> &CacheKey {
        self.manifest.key()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("key", self.key())
            .field("path", &self.path)
            .field("held", &self.hold.is_some())
            .finish_non_exhaustive()
    }
}
