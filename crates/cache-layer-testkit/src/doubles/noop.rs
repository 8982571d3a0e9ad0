use std::fmt;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    BuildError, BuildErrorKind, CacheLayer, LayerError, Lookup, Snapshot, SnapshotBuilder, Staging,
};

/// A layer that has nothing and keeps nothing, and never errs. As a builder, one that always refuses: this
/// host is not set up.
#[derive(Debug, Clone, Copy)]
pub struct Noop {
    name: &'static str,
}

impl Noop {
    /// Nothing, by the name of `noop`.
    #[must_use]
    pub const fn new() -> Self {
        Self::named("noop")
    }

    /// Nothing, by the name that it has as a layer.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self { name }
    }
}

impl Default for Noop {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl CacheLayer for Noop {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn get(&self, _: &SnapshotSpec, _: &Staging) -> Result<Lookup, LayerError> {
        Ok(Lookup::Miss)
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        Ok(snapshot.clone())
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), LayerError> {
        Ok(())
    }
}

#[async_trait]
impl SnapshotBuilder for Noop {
    async fn build(&self, spec: &SnapshotSpec, _: &Staging) -> Result<Snapshot, BuildError> {
        let context = format!("build {}: there is no builder here", spec.key());
        Err(BuildError::new(BuildErrorKind::Host, context))
    }
}

impl fmt::Display for Noop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
