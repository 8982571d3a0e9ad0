//! The local tier: snapshots as qcow2 files in one directory.
//!
//! ```text
//! {root}/{key}.qcow2    the snapshot; its appearance, by rename, is what makes an entry
//! {root}/{key}.json     its manifest, and by what the qcow2 file is recognised; its modification time is
//!                       when the entry was last used
//! {root}/.staging/      where files are made before they are published
//! {root}/.locks/        who builds which key
//! {root}/.changing/     who changes which entry
//! {root}/.room          held by whoever makes room
//! ```
//!
//! An entry is verified in full when it comes in: by our own header and table check, by `qemu-img check` only
//! then, and by its digest. A hit after that is a cheap proof: the manifest's spec is the one asked for, the
//! header is an overlay of the base image asked for, and the file is, by size, inode and modification time,
//! the very one that was verified. An entry that fails the proof is removed with a warning and is a miss. No
//! process is started on a hit.
//!
//! A process may die at any moment, and any number of them may use one directory. Who changes an entry holds its
//! lock; a snapshot that is handed out holds one on its file until it is dropped, and is not evicted. What a
//! dead process leaves is put in order when the next one opens the directory.

mod audit;
mod budget;
mod catalog;
mod copy;
mod directory;
mod entry;
mod explain;
mod layer;
mod layout;
mod maintenance;
mod pin;
mod publish;
mod removal;
mod room;
mod sidecar;
mod verify;

pub use audit::{Audit, Audited};
pub use budget::Budget;
pub use catalog::Entry;
pub use layer::DiskLayer;
pub use room::Eviction;
