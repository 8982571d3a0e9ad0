use std::path::{Path, PathBuf};

use cache_key::CacheKey;

/// Where things are in the layer's directory. Nothing else in the crate joins a path.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn disk(&self, key: &CacheKey) -> PathBuf {
        self.root.join(format!("{key}.qcow2"))
    }

    pub(crate) fn sidecar(&self, key: &CacheKey) -> PathBuf {
        self.root.join(format!("{key}.json"))
    }

    /// Held by whoever changes the entry of `key`. Readers need no lock.
    pub(crate) fn entry_lock(&self, key: &CacheKey) -> PathBuf {
        self.root.join(".locks").join(format!("{key}.entry"))
    }

    /// What a backing name in a disk of this directory means.
    pub(crate) fn resolve(&self, backing: &Path) -> PathBuf {
        self.root.join(backing)
    }

    /// Whether a file was made in this directory's staging, and may be linked into it.
    pub(crate) fn is_staged(&self, path: &Path) -> bool {
        path.starts_with(self.root.join(".staging"))
    }
}
