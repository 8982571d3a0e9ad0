use std::io;
use std::sync::Arc;

use cache_key::CacheKey;
use cache_layer::BuildError;
use thiserror::Error;

/// Why there is no snapshot to be had. Everybody who waited for the same snapshot gets the same one.
///
/// A layer's error is none of these: it is reported, and the next one is asked.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum GetError {
    /// No layer has it, and it could not be built.
    #[error(transparent)]
    Build(Arc<BuildError>),
    /// The right to build it could not be had: the staging directory cannot be written to.
    #[error("lock the build of {key}")]
    Lock {
        /// What was asked for.
        key: CacheKey,
        /// Why.
        source: Arc<io::Error>,
    },
    /// A layer or the builder panicked: a defect of theirs.
    #[error("get {key}: a layer or the builder panicked: {message}")]
    Panicked {
        /// What was asked for.
        key: CacheKey,
        /// What it panicked with.
        message: String,
    },
}
