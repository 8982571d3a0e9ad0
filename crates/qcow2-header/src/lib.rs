//! Reads, checks and re-bases the header of a qcow2 file that nobody vouches for.
//!
//! A qcow2 file can name other files, remote disks and encryption keys, and QEMU follows those names when
//! it opens one. So a file from elsewhere is read here first:
//!
//! - [`Qcow2Header::read`] reads the header alone: one read of 4 KiB as a rule, what a cache hit can afford;
//! - [`Qcow2Header::check_tables`] walks the tables too: what a file costs when it comes in;
//! - [`Qcow2Header::require_overlay`] and [`Qcow2Header::require_standalone`] refuse whatever a snapshot,
//!   or a base image, has no business to hold;
//! - [`vet_overlay`] and [`vet_standalone`] do all of it, and have `qemu-img check` read the file when nothing is left
//!   to fear.
//!
//! No bytes make any of it panic, and none make it read more than the file's tables once. What it keeps in
//! memory is a number for each L2 table and refcount block, which the format bounds: a few KiB for a disk of
//! some GiB, and below 200 MiB for the worst that a file can say.
//!
//! The format is that of QEMU's `docs/interop/qcow2.txt`, versions 2 and 3.

mod error;
mod extensions;
mod fields;
mod header;
mod policy;
mod rebase;
mod tables;
mod vet;

pub use error::Qcow2Error;
pub use header::{BackingFile, Compression, Encryption, Features, Qcow2Header, Table};
pub use rebase::set_backing_file;
pub use vet::{vet_overlay, vet_standalone};
