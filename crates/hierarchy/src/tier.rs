use std::sync::Arc;

use cache_layer::CacheLayer;

/// A layer at its place in the hierarchy.
#[derive(Debug, Clone)]
pub struct Tier {
    pub(crate) layer: Arc<dyn CacheLayer>,
    pub(crate) reach: Reach,
    pub(crate) writes: Writes,
}

/// How far away a layer keeps what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In files of this host. It is written to before the answer, and asked by every caller for itself.
    Local,
    /// Elsewhere. It is written to in the background, and asked once for all who wait for the same
    /// snapshot. Snapshots without packages are no business of it: every host makes those from its own base
    /// image in no time.
    Remote,
}

/// What is written to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writes {
    /// What a layer below it had.
    pub fill: bool,
    /// What was built.
    pub publish: bool,
}

impl Writes {
    /// Everything.
    pub const ALL: Self = Self {
        fill: true,
        publish: true,
    };
    /// Nothing: a layer that others fill.
    pub const NONE: Self = Self {
        fill: false,
        publish: false,
    };
}

impl Tier {
    /// A layer that keeps its entries in files of this host, and everything that comes by.
    #[must_use]
    pub fn local(layer: Arc<dyn CacheLayer>) -> Self {
        Self {
            layer,
            reach: Reach::Local,
            writes: Writes::ALL,
        }
    }

    /// A layer that many hosts share, and that keeps everything that comes by.
    #[must_use]
    pub fn remote(layer: Arc<dyn CacheLayer>) -> Self {
        Self {
            layer,
            reach: Reach::Remote,
            writes: Writes::ALL,
        }
    }

    /// Writes to the layer only what `writes` says.
    #[must_use]
    pub fn with_writes(self, writes: Writes) -> Self {
        Self { writes, ..self }
    }
}
