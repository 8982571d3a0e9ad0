//! What is found under a key, and whether it is what was asked for.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use cache_key::SnapshotSpec;
use cache_layer::{Manifest, ManifestError, Provenance};
use qcow2_header::{Qcow2Error, Qcow2Header};
use thiserror::Error;

use crate::layout::Layout;
use crate::pin::{Pin, Pinned};
use crate::sidecar::{FileStat, Sidecar, SidecarFile};
use crate::verify::measure;

/// An entry that was looked at.
#[derive(Debug)]
pub(crate) enum Examined {
    /// There is none.
    Absent,
    /// It is being removed, perhaps.
    Busy,
    /// It is what was asked for, and the very file that was verified. Whoever hands it out marks it as used.
    Proved(Found, SidecarFile),
    /// It may be what was asked for, and is to be verified in full.
    Unproved(Unproved),
    /// It cannot be used.
    Unusable(Fault),
}

/// An entry that can be used. It is locked against removal for as long as its pin is held.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) pin: Pin,
    pub(crate) manifest: Manifest,
}

/// An entry over the right base image that nobody has verified as it is now.
#[derive(Debug)]
pub(crate) struct Unproved {
    pin: Pin,
    data: Metadata,
    /// Without one, somebody put it here by hand. With one, it was copied here from elsewhere, or tampered with.
    manifest: Option<Manifest>,
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

/// Why there is no telling, or why there is nothing good to tell.
#[derive(Debug)]
pub(crate) enum Failure {
    Fault(Fault),
    Io(io::Error),
    /// A program that verifies is not there.
    Tool(Qcow2Error),
}

/// Looks at the entry of `spec`, which `pin` opens: a few system calls, whatever its size. Nothing is changed. `Err` means
/// that looking itself failed.
pub(crate) fn examine(
    layout: &Layout,
    spec: &SnapshotSpec,
    pin: fn(&Path) -> io::Result<Pinned>,
) -> io::Result<Examined> {
    let (pin, data) = match pin(&layout.disk(&spec.key()))? {
        Pinned::File(pin, data) => (pin, data),
        Pinned::Absent => return Ok(Examined::Absent),
        Pinned::Busy => return Ok(Examined::Busy),
        Pinned::NotAFile => return Ok(Examined::Unusable(Fault::NotAFile)),
    };
    match judge(layout, spec, pin, data) {
        Ok(examined) => Ok(examined),
        Err(Failure::Fault(fault)) => Ok(Examined::Unusable(fault)),
        Err(Failure::Io(error)) => Err(error),
        Err(Failure::Tool(error)) => Err(io::Error::other(error)),
    }
}

fn judge(
    layout: &Layout,
    spec: &SnapshotSpec,
    pin: Pin,
    data: Metadata,
) -> Result<Examined, Failure> {
    let sidecar = Sidecar::read(&layout.sidecar(&spec.key()))?;
    if sidecar
        .as_ref()
        .is_some_and(|(sidecar, _)| *sidecar.manifest.spec() != spec.canonical())
    {
        return Err(Fault::OtherSpec.into());
    }
    let header = Qcow2Header::read(&*pin)?;
    require_base_image(layout, spec, &header)?;
    let manifest = match sidecar {
        Some((sidecar, file)) if sidecar.file == FileStat::of(&data) => {
            let manifest = sidecar.manifest;
            return Ok(Examined::Proved(Found { pin, manifest }, file));
        }
        Some((sidecar, _)) => Some(sidecar.manifest),
        None => None,
    };
    Ok(Examined::Unproved(Unproved {
        pin,
        data,
        manifest,
    }))
}

impl Unproved {
    /// Verifies the entry in full. It is proved from now on if the sidecar that comes back is written.
    pub(crate) fn verify(
        self,
        spec: &SnapshotSpec,
        qemu_img: &Path,
    ) -> Result<(Found, Sidecar), Failure> {
        let disk = measure(&self.pin, qemu_img)?;
        let manifest = match self.manifest {
            Some(manifest) if *manifest.disk() == disk => manifest,
            Some(_) => return Err(Fault::Changed.into()),
            None => Manifest::new(spec.canonical(), disk, adopted(&self.data)),
        };
        let sidecar = Sidecar {
            manifest: manifest.clone(),
            file: FileStat::of(&self.data),
        };
        let pin = self.pin;
        Ok((Found { pin, manifest }, sidecar))
    }
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

fn adopted(data: &Metadata) -> Provenance {
    let modified = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let built_at = modified.try_into().unwrap_or_default();
    Provenance::new(built_at, "unknown, found without a manifest")
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
            Qcow2Error::Tool { .. } => Self::Tool(error),
            error => Self::Fault(Fault::Qcow2(error)),
        }
    }
}

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::Io(error) => Self::Io(error),
            error => Self::Fault(Fault::Manifest(error)),
        }
    }
}
