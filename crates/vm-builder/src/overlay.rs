//! Making qcow2 overlays, and proving that one is whole.

use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::process::Stdio;

use cache_key::{BaseImage, DiskFormat};
use cache_layer::{BuildError, BuildErrorKind, Disk, blocking};
use qcow2_header::{Qcow2Error, vet_overlay};
use tokio::process::Command;

use crate::host::cannot_start;

/// Makes an empty overlay at `path` over `backing`.
pub(crate) async fn create(
    qemu_img: &Path,
    path: &Path,
    backing: &Path,
    format: DiskFormat,
) -> Result<(), BuildError> {
    let mut command = Command::new(qemu_img);
    command.args([
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        &format.to_string(),
        "-b",
    ]);
    command.arg(backing).arg(path);
    run(command, qemu_img, "make a qcow2 overlay").await
}

/// Has the overlay at `path`, which nobody writes to any more, checked by us and by `qemu-img`, and says
/// what its bytes are. It has to be one over `base` still.
pub(crate) async fn prove(
    qemu_img: &Path,
    path: &Path,
    base: &BaseImage,
) -> Result<Disk, BuildError> {
    let (qemu_img, path, base) = (qemu_img.to_owned(), path.to_owned(), base.clone());
    let measured = blocking(move || measure(&qemu_img, &path, &base)).await;
    measured.map_err(|error| {
        let kind = match error {
            Qcow2Error::Tool { .. } => BuildErrorKind::Host,
            _ => BuildErrorKind::Temporary,
        };
        BuildError::new(kind, "check the qcow2 overlay that the guest left").with_source(error)
    })
}

fn measure(qemu_img: &Path, path: &Path, base: &BaseImage) -> Result<Disk, Qcow2Error> {
    let mut file = File::open(path)?;
    let header = vet_overlay(&file, qemu_img)?;
    // A QEMU that somebody broke out of can write any name there.
    if header.require_overlay()? != (base.path(), base.format().as_str()) {
        return Err(Qcow2Error::Refused(
            "it is no overlay of its base image".to_owned(),
        ));
    }
    file.rewind()?;
    Ok(Disk::of_reader(&file, header.virtual_bytes)?)
}

/// What the system says of a directory that cannot take a file.
const HOST_SIGNS: [&str; 4] = [
    "No space left on device",
    "Disk quota exceeded",
    "Permission denied",
    "Read-only file system",
];

async fn run(mut command: Command, program: &Path, what: &str) -> Result<(), BuildError> {
    let command = command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command
        .output()
        .await
        .map_err(|error| cannot_start(program, error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let is_host = HOST_SIGNS.iter().any(|sign| said.contains(sign));
    let (kind, hint) = match is_host {
        true => (
            BuildErrorKind::Host,
            ": see to the directory that it is made in",
        ),
        false => (BuildErrorKind::Internal, ""),
    };
    let context = format!(
        "{what}: `{}` failed with {}{hint}",
        program.display(),
        output.status
    );
    Err(BuildError::new(kind, context).with_output(said))
}

#[cfg(test)]
mod tests {
    use cache_key::ImageDigest;

    use super::*;

    #[tokio::test]
    async fn an_overlay_that_names_another_file_is_none_of_its_base_image() {
        let dir = tempfile::tempdir().unwrap();
        let qemu_img = Path::new("qemu-img");
        let raw = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, [0; 4096]).unwrap();
            path
        };
        let (base, other) = (raw("base"), raw("other"));
        let overlay = dir.path().join("overlay");
        let image = |path| BaseImage::new(path, DiskFormat::Raw, ImageDigest::from_bytes([7; 32]));
        create(qemu_img, &overlay, &base, DiskFormat::Raw)
            .await
            .unwrap();
        prove(qemu_img, &overlay, &image(&base)).await.unwrap();
        let error = prove(qemu_img, &overlay, &image(&other)).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "it is no overlay of its base image");
    }
}
