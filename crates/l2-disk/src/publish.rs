//! Putting a snapshot in place: whole, or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cache_layer::{LayerError, LayerErrorKind, Manifest, Snapshot, Staging};
use qcow2_header::{Qcow2Error, Qcow2Header};

use crate::entry;
use crate::layout::Layout;
use crate::sidecar::{FileStat, Sidecar};

/// Publishes `snapshot` and gives the open file, which is locked against eviction.
///
/// The order is what makes it atomic: everything is written to the end, the sidecar is put in place, and the
/// last step, the rename of the disk, makes the entry. The caller holds the entry's lock.
pub(crate) fn publish(
    layout: &Layout,
    staging: &Staging,
    snapshot: &Snapshot,
) -> Result<File, LayerError> {
    let key = snapshot.key();
    let io = |what: &'static str| move |error| LayerError::from_io(format!("{what} {key}"), error);
    let staged = staging.file(key);
    if layout.is_staged(snapshot.path()) {
        fs::hard_link(snapshot.path(), staged.path()).map_err(io("link the snapshot"))?;
    } else {
        fs::copy(snapshot.path(), staged.path()).map_err(io("copy the snapshot"))?;
    }
    let mut file = File::open(staged.path()).map_err(io("open the snapshot"))?;
    verify(&mut file, snapshot.manifest())?;
    // Whoever wants to write to it makes an overlay.
    file.set_permissions(Permissions::from_mode(0o444))
        .map_err(io("protect the snapshot"))?;
    file.sync_all()
        .map_err(io("write to the end the snapshot"))?;
    file.lock_shared().map_err(io("lock the snapshot"))?;

    let data = file.metadata().map_err(io("look at the snapshot"))?;
    let manifest = Manifest::clone(snapshot.manifest());
    let sidecar = Sidecar {
        manifest,
        file: FileStat::of(&data),
    };
    write_sidecar(layout, staging, &sidecar).map_err(io("write the manifest of"))?;
    fs::rename(staged.path(), layout.disk(key)).map_err(io("publish"))?;
    sync_dir(layout.root()).map_err(io("write to the end the directory of"))?;
    Ok(file)
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

/// Removes an entry: first what makes it one.
pub(crate) fn unpublish(layout: &Layout, key: &cache_key::CacheKey) -> io::Result<()> {
    for path in [layout.disk(key), layout.sidecar(key)] {
        remove(&path)?;
    }
    sync_dir(layout.root())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn verify(file: &mut File, manifest: &Manifest) -> Result<(), LayerError> {
    let key = manifest.key();
    let corrupt = |error: Qcow2Error| match error {
        Qcow2Error::Io(error) => LayerError::from_io(format!("read the snapshot {key}"), error),
        error => {
            LayerError::new(LayerErrorKind::Corrupt, format!("take in {key}")).with_source(error)
        }
    };
    let header = Qcow2Header::read(&mut *file).map_err(corrupt)?;
    header.require_overlay().map_err(corrupt)?;
    let disk = entry::verify(file, &header).map_err(corrupt)?;
    if disk != *manifest.disk() {
        let context = format!("take in {key}: its bytes are not those of its manifest");
        return Err(LayerError::new(LayerErrorKind::Corrupt, context));
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
