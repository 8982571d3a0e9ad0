//! The full proof of an entry: what a hit after it takes for granted.

use std::fs::File;
use std::io::Seek;
use std::path::Path;

use cache_layer::Disk;
use qcow2_header::{Qcow2Error, vet_overlay};

/// Has the structure of the disk `file` checked by us and by `qemu-img`, and says what its bytes are. Whether they
/// are the right ones, over the right base image, is for the caller to say.
pub(crate) fn measure(mut file: &File, qemu_img: &Path) -> Result<Disk, Qcow2Error> {
    let header = vet_overlay(file, qemu_img)?;
    file.rewind().map_err(Qcow2Error::Io)?;
    Disk::of_reader(file, header.virtual_bytes).map_err(Qcow2Error::Io)
}
