use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cache_layer::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What stands beside a disk: its manifest, and by what its file is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Sidecar {
    pub(crate) manifest: Manifest,
    pub(crate) file: FileStat,
}

/// By what a file is recognised that was verified once. The time of the last status change is left out:
/// making and removing links to the file changes it, and both are part of publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStat {
    bytes: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl FileStat {
    pub(crate) fn of(data: &Metadata) -> Self {
        Self {
            bytes: data.size(),
            inode: data.ino(),
            modified: (data.mtime(), data.mtime_nsec()),
        }
    }
}

impl Sidecar {
    /// Reads the sidecar at `path`; `None` when there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, ManifestError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let bytes = file.metadata()?.len();
        if bytes > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong { bytes });
        }
        let mut json = Vec::new();
        file.take(MAX_MANIFEST_BYTES).read_to_end(&mut json)?;
        Self::from_json(&json).map(Some)
    }

    fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Parts<'a> {
            /// Read by its own rules: one of a newer format is to say so.
            #[serde(borrow)]
            manifest: &'a RawValue,
            file: FileStat,
        }

        let Parts { manifest, file } = serde_json::from_slice(json)?;
        Ok(Self {
            manifest: Manifest::from_json(manifest.get().as_bytes())?,
            file,
        })
    }

    pub(crate) fn to_json(&self) -> io::Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }
}
