//! The local tier: snapshots as qcow2 files in one directory.
//!
//! ```text
//! {root}/{key}.qcow2    the snapshot; its appearance, by rename, is what makes an entry
//! {root}/{key}.json     its manifest, and by what the qcow2 file is recognised
//! {root}/.staging/      where files are made before they are published
//! {root}/.locks/        who builds or changes which key
//! ```
//!
//! An entry is verified in full when it comes in. A hit after that is a cheap proof: the manifest's spec is
//! the one asked for, the header is an overlay of the base image asked for, and the file is, by size,
//! inode and modification time, the very one that was verified. An entry that fails the proof is
//! removed with a warning and is a miss. No process is started on a hit.

mod entry;
mod layer;
mod layout;
mod publish;
mod sidecar;

pub use layer::DiskLayer;
