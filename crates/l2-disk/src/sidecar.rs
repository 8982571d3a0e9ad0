use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cache_layer::{MANIFEST_FORMAT_VERSION, MAX_MANIFEST_BYTES, Manifest, ManifestError};
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, futimens};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::pin::open;

/// What stands beside a disk: its manifest, and by what its file is recognised.
///
/// The modification time of the sidecar's file is when the entry was last used. It is set on every hit, which
/// needs no access times of the file system: caches often lie on one that keeps none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// The open file of a sidecar.
#[derive(Debug)]
pub(crate) struct SidecarFile(File);

impl Sidecar {
    /// Reads the sidecar at `path`; `None` when there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<(Self, SidecarFile)>, ManifestError> {
        let Some(file) = open(path)? else {
            return Ok(None);
        };
        let data = file.metadata()?;
        if !data.is_file() {
            return Err(io::Error::other("it is not a regular file").into());
        }
        let bytes = data.len();
        if bytes > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong { bytes });
        }
        let mut json = Vec::with_capacity(bytes as usize + 1);
        (&file).take(bytes).read_to_end(&mut json)?;
        Ok(Some((Self::from_json(&json)?, SidecarFile(file))))
    }

    fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Parts<'a> {
            #[serde(borrow)]
            manifest: &'a RawValue,
            file: FileStat,
        }

        // In one pass, which is what a hit takes.
        if let Ok(sidecar) = serde_json::from_slice::<Self>(json)
            && sidecar.manifest.format_version() <= MANIFEST_FORMAT_VERSION
        {
            return Ok(sidecar);
        }
        // The manifest by its own rules: one of a newer format is to say so, whatever else is in it.
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

impl SidecarFile {
    /// Records that the entry is used now. Where that cannot be, in a directory that is only to be read, its
    /// owner's eviction goes by the last use that could.
    pub(crate) fn mark_used(&self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or(Duration::ZERO);
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: since.as_secs() as i64,
                tv_nsec: since.subsec_nanos().into(),
            },
        };
        if let Err(error) = futimens(&self.0, &times) {
            tracing::debug!(%error, "cannot record when an entry was used");
        }
    }
}
