use std::io;
use std::path::PathBuf;

use base_image::ImageError;
use cache_key::Language;
use cache_layer::LayerError;
use hierarchy::GetError;
use l3_remote::LocationError;
use thiserror::Error;
use vm_builder::network::UpstreamError;

/// Why the environment gives no settings.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There is no home directory to put things in.
    #[error("find the home directory: set HOME, or name a cache and an image directory")]
    NoHome,
    /// The proxy that the environment names cannot be used.
    #[error(transparent)]
    Proxy(#[from] UpstreamError),
}

/// Why a cache cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// What was not said could not be had of the environment either.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The cache directory cannot be used.
    #[error("use the cache directory `{}`", path.display())]
    CacheDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image directory cannot be used.
    #[error(transparent)]
    Images(ImageError),
    /// The remote store's URI is none.
    #[error(transparent)]
    Location(LocationError),
    /// The remote store cannot be used.
    #[error(transparent)]
    Remote(LayerError),
}

/// Why there is no snapshot to be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no base image, and none can be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A cache with a builder of its own was asked for packages, and not told what they are built on.
    #[error(
        "get {language} packages: no base image is named, and a cache with a builder of its own makes none; name one with `SnapshotCache::get_spec`"
    )]
    NoBaseImage {
        /// That of the packages.
        language: Language,
    },
    /// No layer has the snapshot, and it could not be built.
    #[error(transparent)]
    Get(#[from] GetError),
}
