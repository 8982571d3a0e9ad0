use std::fs::{File, OpenOptions};
use std::io::{self, Seek};
use std::mem;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use cache_key::BaseImage;
use cache_layer::{ContentHasher, Disk, LayerError};
use qcow2_header::{Qcow2Error, Qcow2Header, set_backing_file};
use thiserror::Error;

use crate::fault::corrupt;
use crate::pool::Pooled;

/// The qcow2 file that an object is unpacked to. It never grows past its limit.
#[derive(Debug)]
pub(crate) struct Unpacked {
    file: File,
    limit: u64,
    written: u64,
    hasher: ContentHasher,
}

#[derive(Debug, Error)]
pub(crate) enum UnpackedError {
    #[error("it unpacks to more than {0} bytes")]
    TooLong(u64),
    #[error("it unpacks to other than the {0} bytes of its manifest")]
    Size(u64),
    #[error("it is no qcow2 file")]
    NotQcow2,
    #[error("its bytes do not have the digest of its manifest")]
    Digest,
    #[error(transparent)]
    Qcow2(Qcow2Error),
    #[error("unpack it")]
    Zstd(#[source] io::Error),
    #[error("it ends in the midst of a frame")]
    CutOff,
    #[error("write the downloaded snapshot")]
    Io(#[source] io::Error),
}

/// Runs of zeros of this many bytes become holes: a file system's block.
const HOLE: usize = 4 << 10;

impl Unpacked {
    /// A new file at `path`, of `limit` bytes at most.
    pub(crate) fn create(path: &Path, limit: u64) -> Result<Self, UnpackedError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(UnpackedError::Io)?;
        Ok(Self {
            file,
            limit,
            written: 0,
            hasher: ContentHasher::new(),
        })
    }

    pub(crate) fn limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The next bytes of the file, which are to be hashed too.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackedError> {
        let end = self.written + bytes.len() as u64;
        if end > self.limit {
            return Err(UnpackedError::TooLong(self.limit));
        }
        // Neighbouring blocks with something in them go out in one write.
        let mut run = 0..0;
        for block in bytes.chunks(HOLE) {
            let block_end = run.end + block.len();
            if is_zero(block) {
                self.write_run(bytes, run)?;
                run = block_end..block_end;
            } else {
                run.end = block_end;
            }
        }
        self.write_run(bytes, run)?;
        self.written = end;
        Ok(())
    }

    /// Writes `parts` until there are no more. Hashing takes as long as writing, and goes on beside it.
    pub(crate) fn write_all(
        mut self,
        parts: impl Iterator<Item = Pooled>,
    ) -> Result<Self, UnpackedError> {
        thread::scope(|scope| {
            let (to_hash, hashing) = mpsc::sync_channel::<Arc<Pooled>>(1);
            let mut hasher = mem::take(&mut self.hasher);
            let hashed = scope.spawn(move || {
                for part in hashing {
                    hasher.update(&part);
                }
                hasher
            });
            for part in parts {
                let part = Arc::new(part);
                // It hashes until this end is dropped.
                let _ = to_hash.send(part.clone());
                self.write(&part)?;
            }
            drop(to_hash);
            self.hasher = hashed
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(self)
        })
    }

    pub(crate) fn hash(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    fn write_run(&self, bytes: &[u8], run: Range<usize>) -> Result<(), UnpackedError> {
        let at = self.written + run.start as u64;
        self.file
            .write_all_at(&bytes[run], at)
            .map_err(UnpackedError::Io)
    }

    /// Holds the whole file against what its manifest declares, if it has one, and against what a snapshot may
    /// be, and has it name this host's base image, if one is given. Says what the file is then.
    pub(crate) fn finish(
        mut self,
        declared: Option<Disk>,
        base: Option<&BaseImage>,
    ) -> Result<Disk, UnpackedError> {
        self.file.set_len(self.written).map_err(UnpackedError::Io)?;
        let blake3 = self.hasher.finish();
        if let Some(declared) = declared {
            if self.written != declared.file_bytes {
                return Err(UnpackedError::Size(declared.file_bytes));
            }
            if blake3 != declared.blake3 {
                return Err(UnpackedError::Digest);
            }
        }
        let header = Qcow2Header::read(&mut self.file)?;
        let (named, format) = header.require_overlay()?;
        header.check_tables(&mut self.file)?;
        if declared.is_some_and(|declared| declared.virtual_bytes != header.virtual_bytes) {
            return Err(UnpackedError::Digest);
        }
        let disk = Disk {
            file_bytes: self.written,
            virtual_bytes: header.virtual_bytes,
            blake3,
        };
        match base {
            Some(base) if named != base.path() || format != base.format().as_str() => {
                self.rebase(base, disk)
            }
            _ => Ok(disk),
        }
    }

    fn rebase(mut self, base: &BaseImage, disk: Disk) -> Result<Disk, UnpackedError> {
        let path = base.path().to_string_lossy();
        set_backing_file(&mut self.file, &path, base.format().as_str())?;
        self.file.rewind().map_err(UnpackedError::Io)?;
        Disk::of_reader(&self.file, disk.virtual_bytes).map_err(UnpackedError::Io)
    }
}

fn is_zero(block: &[u8]) -> bool {
    // In words: a byte at a time is slower than the whole rest.
    let (words, tail) = block.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && tail.iter().all(|&byte| byte == 0)
}

impl UnpackedError {
    /// What a caller of the layer is told: the disk here is full or broken, or the object is.
    pub(crate) fn of_object(self, path: &str) -> LayerError {
        match self {
            Self::Io(error) => LayerError::from_io(format!("write what {path} unpacks to"), error),
            error => corrupt(path).with_source(error),
        }
    }
}

impl From<Qcow2Error> for UnpackedError {
    fn from(error: Qcow2Error) -> Self {
        match error {
            Qcow2Error::Io(error) => Self::Io(error),
            error => Self::Qcow2(error),
        }
    }
}
