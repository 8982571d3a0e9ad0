//! What is found under a key, and whether it is what was asked for.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use cache_key::SnapshotSpec;
use cache_layer::{ContentDigest, Disk, Manifest, ManifestError, Provenance};
use qcow2_header::{Qcow2Error, Qcow2Header};
use rustix::fs::OFlags;
use thiserror::Error;

use crate::layout::Layout;
use crate::sidecar::{FileStat, Sidecar};

/// An entry that was looked at.
#[derive(Debug)]
pub(crate) enum Examined {
    /// There is none.
    Absent,
    /// It is what was asked for, and proved. The file is locked against eviction for as long as it is open.
    Proved { pin: File, manifest: Manifest },
    /// It is what was asked for, and verified in full just now: its sidecar is to be written.
    Verified { pin: File, sidecar: Sidecar },
    /// It cannot be used.
    Unusable(Fault),
}

/// Why an entry cannot be used.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("its backing file `{0}` is missing")]
    BackingMissing(String),
    #[error("its backing file `{found}` is not the base image `{expected}`")]
    OtherBacking { found: String, expected: String },
    #[error("it is the snapshot of another request")]
    OtherSpec,
    #[error("it is not a regular file")]
    NotAFile,
    #[error(transparent)]
    Qcow2(Qcow2Error),
    #[error("its bytes are not those of its manifest")]
    Changed,
    #[error("its manifest cannot be used: {0}")]
    Manifest(ManifestError),
}

impl Fault {
    /// Whether another release may still want the entry.
    pub(crate) fn is_from_the_future(&self) -> bool {
        matches!(self, Self::Manifest(ManifestError::Newer { .. }))
    }
}

/// Looks at the entry of `spec`. `Err` means that looking itself failed.
pub(crate) fn examine(layout: &Layout, spec: &SnapshotSpec) -> io::Result<Examined> {
    let key = spec.key();
    let path = layout.disk(&key);
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Examined::Absent),
        // A symbolic link: nothing of ours.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Ok(Examined::Unusable(Fault::NotAFile));
        }
        Err(error) => return Err(error),
    };
    // Before anything is looked at: whoever removes entries leaves alone what is locked.
    file.lock_shared()?;
    if !is_still_at(&file, &path)? {
        return Ok(Examined::Absent);
    }
    let data = file.metadata()?;
    if !data.is_file() {
        return Ok(Examined::Unusable(Fault::NotAFile));
    }
    match judge(layout, spec, &mut file, &data) {
        Ok(Judgement::Proved(manifest)) => Ok(Examined::Proved {
            pin: file,
            manifest,
        }),
        Ok(Judgement::Verified(sidecar)) => Ok(Examined::Verified { pin: file, sidecar }),
        Err(Failure::Fault(fault)) => Ok(Examined::Unusable(fault)),
        Err(Failure::Io(error)) => Err(error),
    }
}

enum Judgement {
    Proved(Manifest),
    Verified(Sidecar),
}

enum Failure {
    Fault(Fault),
    Io(io::Error),
}

fn judge(
    layout: &Layout,
    spec: &SnapshotSpec,
    file: &mut File,
    data: &Metadata,
) -> Result<Judgement, Failure> {
    let sidecar = match Sidecar::read(&layout.sidecar(&spec.key())) {
        Ok(sidecar) => sidecar,
        Err(ManifestError::Io(error)) => return Err(Failure::Io(error)),
        Err(error) => return Err(Fault::Manifest(error).into()),
    };
    if sidecar
        .as_ref()
        .is_some_and(|sidecar| *sidecar.manifest.spec() != spec.canonical())
    {
        return Err(Fault::OtherSpec.into());
    }
    let header = Qcow2Header::read(&mut *file)?;
    require_base_image(layout, spec, &header)?;
    let stat = FileStat::of(data);
    match sidecar {
        Some(sidecar) if sidecar.file == stat => Ok(Judgement::Proved(sidecar.manifest)),
        // Copied here from elsewhere, or tampered with.
        Some(sidecar) => {
            let disk = verify(file, &header)?;
            if disk != *sidecar.manifest.disk() {
                return Err(Fault::Changed.into());
            }
            Ok(Judgement::Verified(Sidecar {
                file: stat,
                ..sidecar
            }))
        }
        // Somebody put it here by hand.
        None => {
            let disk = verify(file, &header)?;
            let manifest = Manifest::new(spec.canonical(), disk, adopted(data)?);
            Ok(Judgement::Verified(Sidecar {
                manifest,
                file: stat,
            }))
        }
    }
}

/// Walks the tables and hashes the file.
pub(crate) fn verify(file: &mut File, header: &Qcow2Header) -> Result<Disk, Qcow2Error> {
    header.check_tables(&mut *file)?;
    file.rewind().map_err(Qcow2Error::Io)?;
    let blake3 = ContentDigest::of_reader(&*file).map_err(Qcow2Error::Io)?;
    Ok(Disk {
        file_bytes: header.file_bytes,
        virtual_bytes: header.virtual_bytes,
        blake3,
    })
}

fn require_base_image(
    layout: &Layout,
    spec: &SnapshotSpec,
    header: &Qcow2Header,
) -> Result<(), Failure> {
    let (named, format) = header.require_overlay()?;
    let expected = spec.base_image();
    let found = layout.resolve(named);
    let there = match fs::metadata(&found) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Fault::BackingMissing(named.display().to_string()).into());
        }
        Err(error) => return Err(Failure::Io(error)),
    };
    let is_base_image = found == expected.path()
        || fs::metadata(expected.path())
            .is_ok_and(|base| (base.dev(), base.ino()) == (there.dev(), there.ino()));
    if is_base_image && format == expected.format().as_str() {
        return Ok(());
    }
    let (found, expected) = (
        found.display().to_string(),
        expected.path().display().to_string(),
    );
    Err(Fault::OtherBacking { found, expected }.into())
}

fn adopted(data: &Metadata) -> Result<Provenance, Failure> {
    let modified = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let built_at = modified.try_into().unwrap_or_default();
    Ok(Provenance {
        built_at,
        built_by: "unknown, found without a manifest".to_owned(),
        resolved: Vec::new(),
    })
}

fn open(path: &Path) -> io::Result<File> {
    // Not through a link out of the directory, and not blocking on a pipe that was put there.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    File::options()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Qcow2Error> for Failure {
    fn from(error: Qcow2Error) -> Self {
        match error {
            Qcow2Error::Io(error) => Self::Io(error),
            error => Self::Fault(Fault::Qcow2(error)),
        }
    }
}
