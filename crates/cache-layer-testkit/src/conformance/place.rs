use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cache_layer::CacheLayer;
use tempfile::TempDir;

use crate::Workshop;

/// Where a layer that is to be tried keeps what it has: a directory, a bucket, its own memory. A fresh one has nothing
/// in it.
///
/// A closure that opens the layer is one.
#[async_trait]
pub trait Place: Send + Sync {
    /// The layer at this place, as a process that begins opens it. It is called several times, and what one of the
    /// layers has stored is there for all: for a layer that ends with its process, give clones of one. It may panic,
    /// as a test does.
    async fn open(&self) -> Arc<dyn CacheLayer>;

    /// A base image, and a staging directory on the file system where the layer's own files are, if it has any.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    fn workshop(&self) -> io::Result<Workshop> {
        Workshop::new()
    }
}

#[async_trait]
impl<F, L> Place for F
where
    F: Fn() -> L + Send + Sync,
    L: CacheLayer + 'static,
{
    async fn open(&self) -> Arc<dyn CacheLayer> {
        Arc::new(self())
    }
}

/// A place, or `None` for one that cannot be had.
pub trait MaybePlace {
    /// The place.
    type Place: Place + 'static;

    /// The place, if there is one.
    fn into_option(self) -> Option<Self::Place>;
}

impl<P: Place + 'static> MaybePlace for P {
    type Place = P;

    fn into_option(self) -> Option<P> {
        Some(self)
    }
}

impl<P: Place + 'static> MaybePlace for Option<P> {
    type Place = P;

    fn into_option(self) -> Self {
        self
    }
}

/// A layer that is open already.
pub(super) struct Opened(pub(super) Arc<dyn CacheLayer>);

#[async_trait]
impl Place for Opened {
    async fn open(&self) -> Arc<dyn CacheLayer> {
        self.0.clone()
    }
}

/// A directory with a layer's files in it, and the closure that opens the layer there. Staging is in the layer's own
/// directory, as it is in the product.
pub struct Directory<F> {
    dir: PathBuf,
    open: F,
    _temporary: Option<TempDir>,
}

impl<F, L> Directory<F>
where
    F: Fn(&Path) -> L + Send + Sync,
    L: CacheLayer + 'static,
{
    /// A temporary one.
    ///
    /// # Panics
    ///
    /// It cannot be made.
    #[must_use]
    pub fn new(open: F) -> Self {
        let temporary = tempfile::tempdir().expect("a test may make a directory");
        Self {
            dir: temporary.path().to_owned(),
            open,
            _temporary: Some(temporary),
        }
    }

    /// One that is there already, and stays.
    pub(super) fn of(dir: PathBuf, open: F) -> Self {
        Self {
            dir,
            open,
            _temporary: None,
        }
    }
}

impl<F> Directory<F> {
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Apart from the base image, which is no business of the layer.
    fn root(&self) -> PathBuf {
        self.dir.join("cache")
    }
}

#[async_trait]
impl<F, L> Place for Directory<F>
where
    F: Fn(&Path) -> L + Send + Sync,
    L: CacheLayer + 'static,
{
    async fn open(&self) -> Arc<dyn CacheLayer> {
        fs::create_dir_all(self.root()).expect("a test may make a directory");
        Arc::new((self.open)(&self.root()))
    }

    fn workshop(&self) -> io::Result<Workshop> {
        Workshop::open(&self.dir, &self.root())
    }
}

impl<F> fmt::Debug for Directory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.dir).finish()
    }
}
