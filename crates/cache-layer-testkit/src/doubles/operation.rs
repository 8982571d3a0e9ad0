use std::fmt;

/// What a layer or a builder is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`CacheLayer::get`](cache_layer::CacheLayer::get).
    Get,
    /// [`CacheLayer::put`](cache_layer::CacheLayer::put).
    Put,
    /// [`CacheLayer::remove`](cache_layer::CacheLayer::remove).
    Remove,
    /// [`SnapshotBuilder::build`](cache_layer::SnapshotBuilder::build).
    Build,
}

impl Operation {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Get, Self::Put, Self::Remove, Self::Build];
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Remove => "remove",
            Self::Build => "build",
        })
    }
}
