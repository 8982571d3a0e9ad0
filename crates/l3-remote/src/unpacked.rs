use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use cache_key::BaseImage;
use cache_layer::{ContentDigest, ContentHasher, Disk, LayerError};
use qcow2_header::{Qcow2Error, Qcow2Header, set_backing_file};
use thiserror::Error;

use crate::receive::corrupt;

/// The qcow2 file that an object is unpacked to. It never grows past the size that its manifest declares.
#[derive(Debug)]
pub(crate) struct Unpacked {
    file: File,
    declared: Disk,
    written: u64,
    hasher: ContentHasher,
}

#[derive(Debug, Error)]
pub(crate) enum UnpackedError {
    #[error("it unpacks to other than the {0} bytes of its manifest")]
    Size(u64),
    #[error("its bytes do not have the digest of its manifest")]
    Digest,
    #[error(transparent)]
    Qcow2(Qcow2Error),
    #[error("write the downloaded snapshot")]
    Io(#[source] io::Error),
}

/// Runs of zeros of this many bytes become holes: a file system's block.
const HOLE: usize = 4 << 10;

impl Unpacked {
    pub(crate) fn create(path: &Path, declared: Disk) -> Result<Self, UnpackedError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(Self {
            file,
            declared,
            written: 0,
            hasher: ContentHasher::new(),
        })
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The next bytes of the file.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackedError> {
        self.written += bytes.len() as u64;
        if self.written > self.declared.file_bytes {
            return Err(UnpackedError::Size(self.declared.file_bytes));
        }
        self.hasher.update(bytes);
        for block in bytes.chunks(HOLE) {
            if block.iter().all(|&byte| byte == 0) {
                self.file.seek(SeekFrom::Current(block.len() as i64))?;
            } else {
                self.file.write_all(block)?;
            }
        }
        Ok(())
    }

    /// Holds the whole file against its manifest and against what a snapshot may be, and has it name this
    /// host's base image. Says what the file is then.
    pub(crate) fn finish(mut self, base: &BaseImage) -> Result<Disk, UnpackedError> {
        if self.written != self.declared.file_bytes {
            return Err(UnpackedError::Size(self.declared.file_bytes));
        }
        self.file.set_len(self.written)?;
        if self.hasher.finish() != self.declared.blake3 {
            return Err(UnpackedError::Digest);
        }
        let header = Qcow2Header::read(&mut self.file)?;
        header.check_tables(&mut self.file)?;
        let (named, format) = header.require_overlay()?;
        if header.virtual_bytes != self.declared.virtual_bytes {
            return Err(UnpackedError::Size(self.declared.file_bytes));
        }
        if named == base.path() && format == base.format().as_str() {
            return Ok(self.declared);
        }
        let path = base.path().to_string_lossy();
        set_backing_file(&mut self.file, &path, base.format().as_str())?;
        self.file.rewind()?;
        let blake3 = ContentDigest::of_reader(&self.file)?;
        Ok(Disk {
            file_bytes: self.file.metadata()?.len(),
            blake3,
            ..self.declared
        })
    }
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

impl From<io::Error> for UnpackedError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
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
