use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use cache_key::CacheKey;
use cache_layer::ContentHasher;

/// Where things are in the outbox. Nothing else of it joins a path.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
}

/// The name of an upload: what, and to which remote layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    key: CacheKey,
    /// The first 16 hex digits of the BLAKE3 of what the layer prints of itself.
    remote: String,
}

const ENTRY: &str = ".json";
const DIGITS: usize = 16;

impl Layout {
    pub(super) fn in_root(root: &Path) -> Self {
        Self {
            dir: root.join(".outbox"),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.dir.join("locks")
    }

    pub(super) fn entry(&self, name: &Name) -> PathBuf {
        self.dir.join(format!("{name}{ENTRY}"))
    }

    /// Where an entry goes that cannot be read.
    pub(super) fn damaged(&self, name: &Name) -> PathBuf {
        self.dir.join(format!("{name}{ENTRY}.damaged"))
    }

    /// Held by whoever makes the upload.
    pub(super) fn lock(&self, name: &Name) -> PathBuf {
        self.locks().join(name.to_string())
    }

    /// The upload whose entry has the name `file`.
    pub(super) fn name_of(file: &OsStr) -> Option<Name> {
        let (key, remote) = file.to_str()?.strip_suffix(ENTRY)?.split_once('@')?;
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_remote = remote.len() == DIGITS && remote.bytes().all(is_digit);
        is_remote.then_some(Name {
            key: key.parse().ok()?,
            remote: remote.to_owned(),
        })
    }
}

impl Name {
    /// The upload of `key` to the layer that prints itself as `remote`.
    pub(super) fn new(key: &CacheKey, remote: &str) -> Self {
        let mut hasher = ContentHasher::new();
        hasher.update(remote.as_bytes());
        Self {
            key: key.clone(),
            remote: hasher.finish().to_string()[..DIGITS].to_owned(),
        }
    }

    pub(super) fn key(&self) -> &CacheKey {
        &self.key
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_from_its_entry_and_from_no_other_file() {
        let key: CacheKey = "python-v0.1-1a2b3c4d-9f86d081884c7d65".parse().unwrap();
        let layout = Layout::in_root("/cache".as_ref());
        let name = Name::new(&key, "l3-remote(s3://bucket)");
        assert_ne!(name, Name::new(&key, "l3-remote(s3://other)"));
        let read = |path: PathBuf| Layout::name_of(path.file_name().unwrap());
        assert_eq!(read(layout.entry(&name)), Some(name.clone()));
        assert_eq!(read(layout.damaged(&name)), None);
        for other in ["locks", "x.json", "@.json", "../x@0123456789abcdef.json"] {
            assert_eq!(Layout::name_of(other.as_ref()), None, "{other}");
        }
    }
}
