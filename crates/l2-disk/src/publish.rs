//! Putting a snapshot in place: whole, or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cache_key::CacheKey;
use cache_layer::{LayerError, LayerErrorKind, Snapshot, Staging};
use qcow2_header::{Qcow2Error, Qcow2Header};

use crate::budget::Incoming;
use crate::catalog::disk_bytes;
use crate::copy::copy;
use crate::entry::Found;
use crate::layout::Layout;
use crate::pin::{Pin, Pinned, pin};
use crate::removal::sync_dir;
use crate::sidecar::{FileStat, Sidecar};
use crate::verify::measure;

/// Publishes `snapshot` and gives the entry, which is locked against removal.
///
/// The order is what makes it atomic: everything is written to the end, the sidecar is put in place, and the
/// last step, the rename of the disk, makes the entry. The caller holds the entry's lock.
pub(crate) fn publish(
    layout: &Layout,
    staging: &Staging,
    snapshot: &Snapshot,
    qemu_img: &Path,
) -> Result<Found, LayerError> {
    let key = snapshot.key();
    require_place(&layout.disk(key), key)?;
    let io = |what: &'static str| move |error| LayerError::from_io(format!("{what} {key}"), error);
    let staged = staging.file(key);
    bring(layout, snapshot.path(), staged.path()).map_err(io("copy the snapshot"))?;
    let file = File::open(staged.path()).map_err(io("open the snapshot"))?;
    verify(&file, snapshot, qemu_img)?;
    // Whoever wants to write to it makes an overlay.
    file.set_permissions(Permissions::from_mode(0o444))
        .map_err(io("protect the snapshot"))?;
    file.sync_all()
        .map_err(io("write to the end the snapshot"))?;
    let pin = Pin::shared(file).map_err(io("lock the snapshot"))?;

    let data = pin.metadata().map_err(io("look at the snapshot"))?;
    let manifest = snapshot.manifest().as_ref().clone();
    let sidecar = Sidecar {
        manifest,
        file: FileStat::of(&data),
    };
    write_sidecar(layout, staging, &sidecar).map_err(io("write the manifest of"))?;
    fs::rename(staged.path(), layout.disk(key)).map_err(io("publish"))?;
    sync_dir(layout.root()).map_err(io("write to the end the directory of"))?;
    Ok(Found {
        pin,
        manifest: sidecar.manifest,
    })
}

/// A file or a link in the entry's place is replaced. A directory, which nobody puts there for a cache, is not.
fn require_place(path: &Path, key: &CacheKey) -> Result<(), LayerError> {
    if !fs::symlink_metadata(path).is_ok_and(|data| data.is_dir()) {
        return Ok(());
    }
    let context = format!(
        "store {key}: `{}` is a directory, move it away",
        path.display()
    );
    let kind = LayerErrorKind::Unavailable { temporary: false };
    Err(LayerError::new(kind, context))
}

/// The entry that is there already, if it is one of the same request over the same base image, and the very file
/// that was verified. It stays, whatever bytes the new one has: overlays may stand on it.
pub(crate) fn already_there(layout: &Layout, snapshot: &Snapshot) -> Option<Found> {
    let Ok(Pinned::File(pin, data)) = pin(&layout.disk(snapshot.key())) else {
        return None;
    };
    let (sidecar, sidecar_file) = Sidecar::read(&layout.sidecar(snapshot.key())).ok()??;
    let backing = |file: &File| Some(Qcow2Header::read(file).ok()?.backing);
    let is_same = sidecar.manifest.spec() == snapshot.manifest().spec()
        && sidecar.file == FileStat::of(&data)
        && backing(&pin)? == backing(&File::open(snapshot.path()).ok()?)?;
    is_same.then(|| {
        sidecar_file.mark_used();
        Found {
            pin,
            manifest: sidecar.manifest,
        }
    })
}

/// What `snapshot` will take of the layer's room.
pub(crate) fn incoming(layout: &Layout, snapshot: &Snapshot) -> io::Result<Incoming> {
    Ok(Incoming {
        bytes: disk_bytes(&snapshot.path().metadata()?),
        is_on_disk: layout.is_staged(snapshot.path()),
    })
}

/// Writes or replaces a sidecar in one step.
pub(crate) fn write_sidecar(
    layout: &Layout,
    staging: &Staging,
    sidecar: &Sidecar,
) -> io::Result<()> {
    let key = sidecar.manifest.key();
    let staged = staging.file(key);
    let mut file = File::create(staged.path())?;
    file.write_all(&sidecar.to_json()?)?;
    file.sync_all()?;
    fs::rename(staged.path(), layout.sidecar(key))
}

/// Makes `to`, in staging, of `from`: by a link where nobody writes to it any more and the file system has them.
fn bring(layout: &Layout, from: &Path, to: &Path) -> io::Result<()> {
    if layout.is_staged(from) && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    copy(from, to)
}

fn verify(file: &File, snapshot: &Snapshot, qemu_img: &Path) -> Result<(), LayerError> {
    let key = snapshot.key();
    let corrupt = |error: Qcow2Error| match error {
        Qcow2Error::Io(error) => LayerError::from_io(format!("read the snapshot {key}"), error),
        Qcow2Error::Tool { .. } => {
            let kind = LayerErrorKind::Unavailable { temporary: false };
            LayerError::new(kind, format!("check {key}")).with_source(error)
        }
        error => {
            LayerError::new(LayerErrorKind::Corrupt, format!("take in {key}")).with_source(error)
        }
    };
    let disk = measure(file, qemu_img).map_err(corrupt)?;
    if disk != *snapshot.manifest().disk() {
        let context = format!("take in {key}: its bytes are not those of its manifest");
        return Err(LayerError::new(LayerErrorKind::Corrupt, context));
    }
    Ok(())
}
