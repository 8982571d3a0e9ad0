//! From a folder that nobody looks into to one that is an image, in one step.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::image::{DISK, MANIFEST};
use crate::{ImageError, ImageManifest};

/// Makes `made`, in which an image's files are, the folder of that image in `image_dir`, and gives that.
///
/// What is there already takes its place: the same disk, made by an older recipe or booted in another way.
pub(crate) fn publish(
    made: &Path,
    image_dir: &Path,
    manifest: &ImageManifest,
) -> Result<PathBuf, ImageError> {
    let json = serde_json::to_vec_pretty(manifest).unwrap_or_default();
    fs::write(made.join(MANIFEST), json).map_err(ImageError::io("write", made.join(MANIFEST)))?;
    let entries = fs::read_dir(made).map_err(ImageError::io("read the folder", made))?;
    for entry in entries {
        let path = entry
            .map_err(ImageError::io("read the folder", made))?
            .path();
        seal(&path).map_err(ImageError::io("write to the end", path))?;
    }
    let name = format!("{}-{}", manifest.language, manifest.digest.short());
    let dir = image_dir.join(name);
    match fs::rename(made, &dir) {
        Err(_) if dir.join(DISK).exists() => {
            renameat_with(CWD, made, CWD, &dir, RenameFlags::EXCHANGE)
                .map_err(|error| ImageError::io("replace the folder", &dir)(error.into()))?;
        }
        renamed => renamed.map_err(ImageError::io("make the folder", &dir))?,
    }
    let parent = fs::File::open(image_dir).and_then(|parent| parent.sync_all());
    parent.map_err(ImageError::io("write to the end", image_dir))?;
    Ok(dir)
}

/// The file is on the disk, and nobody writes to it by mistake.
fn seal(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)?;
    file.sync_all()
}
