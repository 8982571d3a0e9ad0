//! Makes and finds the bootable base images that snapshots are built on.
//!
//! A base image is a Debian system made from distribution packages, or any system that somebody imports, in
//! a folder of its own:
//!
//! ```text
//! {image_dir}/{language}-{8 hex digits of the disk's digest}/
//!     disk.qcow2      the root disk, read-only from now on; its BLAKE3 is the image's identity
//!     vmlinuz         the kernel, unless the disk is booted by firmware
//!     initrd.img      finds the root disk and hands over to it; a kernel may do without
//!     image.json      what it is and how it is booted
//!     disk.stat.json  by what the disk is recognised without being hashed again
//! ```
//!
//! Two hosts that make an image from the same package versions get the same disk, byte for byte, and so
//! share snapshots.

mod blame;
mod choice;
mod error;
mod foreign_disk;
mod image;
mod import;
mod maker;
mod manifest;
mod publish;
mod recipe;
mod store;
mod tool;

pub use choice::{ImageChoice, ParseImageChoiceError};
pub use error::{ImageError, ImageErrorKind};
pub use image::Image;
pub use import::{Candidate, Import, ImportedKernel};
pub use maker::MakeOptions;
pub use manifest::{Boot, IMAGE_FORMAT_VERSION, ImageManifest, Installer, Origin};
pub use store::{ImageStore, Listed};
pub use tool::{Tool, missing_tools};
