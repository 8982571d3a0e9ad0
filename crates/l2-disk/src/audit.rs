//! Verifying on demand: everything is read, and nothing that was recorded is taken for granted.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cache_key::{CacheKey, ImageDigest};
use cache_layer::{ContentDigest, LayerError, LayerErrorKind};
use qcow2_header::Qcow2Header;

use crate::directory::Directory;
use crate::entry::{Failure, Fault};
use crate::pin::{Pinned, pin};
use crate::sidecar::Sidecar;
use crate::verify::measure;

/// What verifying several entries has to read only once: their base images. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Audit(Arc<Mutex<HashMap<(u64, u64), ImageDigest>>>);

/// What became of an entry that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audited {
    /// It is what its manifest says.
    Sound,
    /// Its structure is sound, and there is no manifest to hold its bytes against: it was put there by hand, and
    /// gets one when it is first asked for.
    NoManifest,
    /// It could not be used, for this reason, and was removed; or it was left for the newer release that wrote it.
    Unusable(String),
    /// There is no such entry.
    Absent,
}

/// Verifies the entry of `key`. The caller holds its lock, if the directory can be written to.
pub(crate) fn verify(
    directory: &Directory,
    key: &CacheKey,
    audit: &Audit,
) -> Result<Audited, LayerError> {
    let context = format!("verify the entry {key}");
    match inspect(directory, key, audit) {
        Ok(audited) => Ok(audited),
        Err(Failure::Fault(fault)) => {
            directory.discard(key, &fault);
            Ok(Audited::Unusable(fault.to_string()))
        }
        Err(Failure::Io(error)) => Err(LayerError::from_io(context, error)),
        Err(Failure::Tool(error)) => {
            let kind = LayerErrorKind::Unavailable { temporary: false };
            Err(LayerError::new(kind, context).with_source(error))
        }
    }
}

fn inspect(directory: &Directory, key: &CacheKey, audit: &Audit) -> Result<Audited, Failure> {
    let layout = &directory.layout;
    let disk = match pin(&layout.disk(key)).map_err(Failure::Io)? {
        Pinned::File(pin, _) => pin,
        Pinned::Absent | Pinned::Busy => return Ok(Audited::Absent),
        Pinned::NotAFile => return Err(Fault::NotAFile.into()),
    };
    let sidecar = Sidecar::read(&layout.sidecar(key))?;
    let measured = measure(&disk, &directory.qemu_img)?;
    let header = Qcow2Header::read(&*disk)?;
    let (named, _) = header.require_overlay()?;
    let backing = layout.resolve(named);
    let Some((sidecar, _)) = sidecar else {
        return Ok(Audited::NoManifest);
    };
    let spec = sidecar.manifest.spec();
    if spec.key().in_version(key.version()) != *key {
        return Err(Fault::OtherSpec.into());
    }
    if measured != *sidecar.manifest.disk() {
        return Err(Fault::Changed.into());
    }
    match audit.digest(&backing) {
        Ok(digest) if digest == spec.base_image() => Ok(Audited::Sound),
        Ok(digest) => Err(Fault::OtherBacking {
            found: format!("{} ({})", backing.display(), digest.short()),
            expected: spec.base_image().short(),
        }
        .into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Fault::BackingMissing(named.display().to_string()).into())
        }
        Err(error) => Err(Failure::Io(error)),
    }
}

impl Audit {
    /// The digest of the base image at `path`.
    fn digest(&self, path: &Path) -> io::Result<ImageDigest> {
        let file = File::open(path)?;
        let data = fs::metadata(path)?;
        let identity = (data.dev(), data.ino());
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known().get(&identity) {
            return Ok(*digest);
        }
        let digest = ImageDigest::from_bytes(ContentDigest::of_reader(file)?.to_bytes());
        known().insert(identity, digest);
        Ok(digest)
    }
}
