use std::path::{Path, PathBuf};

use cache_key::CacheKey;

/// Where things are in the layer's directory. Nothing else in the crate joins a path.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

const DISK: &str = "qcow2";
const SIDECAR: &str = "json";

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn disk(&self, key: &CacheKey) -> PathBuf {
        self.root.join(format!("{key}.{DISK}"))
    }

    pub(crate) fn sidecar(&self, key: &CacheKey) -> PathBuf {
        self.root.join(format!("{key}.{SIDECAR}"))
    }

    /// The key of the entry whose disk has the name `file`.
    pub(crate) fn key_of_disk(file: &Path) -> Option<CacheKey> {
        Self::key_of(file, DISK)
    }

    /// The key of the entry whose sidecar has the name `file`.
    pub(crate) fn key_of_sidecar(file: &Path) -> Option<CacheKey> {
        Self::key_of(file, SIDECAR)
    }

    fn key_of(file: &Path, extension: &str) -> Option<CacheKey> {
        // Not `file_stem`: a key has dots in it.
        let name = file.file_name()?.to_str()?;
        let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
        stem.parse().ok()
    }

    /// One file for each entry that is being changed.
    pub(crate) fn changing(&self) -> PathBuf {
        self.root.join(".changing")
    }

    /// Held by whoever changes the entry of `key`; readers need no lock. One that nobody holds is of a
    /// process that died in the midst of the change.
    pub(crate) fn entry_lock(&self, key: &CacheKey) -> PathBuf {
        self.changing().join(key.to_string())
    }

    /// Held by whoever makes room, until that room is taken.
    pub(crate) fn room_lock(&self) -> PathBuf {
        self.root.join(".room")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_the_names_of_its_files_and_from_no_others() {
        let key: CacheKey = "python-v0.1-1a2b3c4d-9f86d081884c7d65".parse().unwrap();
        let layout = Layout::new("/cache".into());
        assert_eq!(Layout::key_of_disk(&layout.disk(&key)), Some(key.clone()));
        assert_eq!(
            Layout::key_of_sidecar(&layout.sidecar(&key)),
            Some(key.clone())
        );
        assert_eq!(Layout::key_of_sidecar(&layout.disk(&key)), None);
        for other in ["notes.qcow2", ".qcow2", "qcow2", "python-v0.1.qcow2"] {
            assert_eq!(Layout::key_of_disk(Path::new(other)), None, "{other}");
        }
    }
}
