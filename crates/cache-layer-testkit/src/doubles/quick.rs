use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cache_key::SnapshotSpec;
use cache_layer::{BuildError, BuildErrorKind, Snapshot, SnapshotBuilder, Staging};

use crate::overlay::{Overlay, SMALL};

/// A builder that makes a small disk at once: a real overlay of the base image, which need not exist, with a few
/// clusters of data. No two builds have the same bytes, as with real ones. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Quick {
    began: Arc<AtomicUsize>,
}

impl Quick {
    /// A builder that has built nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many builds have begun.
    #[must_use]
    pub fn builds(&self) -> usize {
        self.began.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl SnapshotBuilder for Quick {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        let number = self.began.fetch_add(1, Ordering::SeqCst);
        // A builder that never waits would hide what happens while one does.
        tokio::task::yield_now().await;
        let overlay = Overlay {
            data_clusters: SMALL,
            seed: number as u64,
        };
        let built = overlay.staged(spec, staging);
        built.map_err(|error| {
            let context = format!("build {}", spec.key());
            BuildError::new(BuildErrorKind::Host, context).with_source(error)
        })
    }
}

impl fmt::Display for Quick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("quick")
    }
}
