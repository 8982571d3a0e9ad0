//! The remote tier: snapshots as zstd objects in S3, GCS, a directory or memory.
//!
//! One snapshot is one object, `{prefix}snapshots/{key}.qcow2.zst`, so that it appears and disappears in one
//! step. Its layout is that of [`object`]: `zstd -d` turns it back into the qcow2 file.
//!
//! What comes from a bucket is believed in nothing: the manifest must be that of the request, the size that
//! it declares bounds what is unpacked, the bytes must have the digest that it declares, and the qcow2
//! header must be that of a plain overlay before it is made to name this host's base image.
//!
//! An upload takes less than 128 MiB of memory and a download less than 256 MiB, whatever the size of the
//! snapshot.

mod body;
mod bucket;
mod catalogue;
mod create;
mod examine;
mod explain;
mod fault;
mod keys;
mod layer;
mod lifecycle;
mod location;
pub mod object;
mod pace;
mod parts;
mod patience;
mod pool;
mod receive;
mod send;
mod store;
mod unmanifested;
mod unpacked;

pub use body::{RANGE_BYTES, RANGES_AHEAD};
pub use catalogue::{RemoteEntry, RemoteStat};
pub use examine::Examined;
pub use keys::S3Keys;
pub use layer::{MOST_WORKERS, RemoteLayer};
pub use lifecycle::lifecycle;
pub use location::{LocationError, RemoteLocation};
pub use parts::{PART_BYTES, PARTS_AT_ONCE};
pub use patience::Patience;
pub use store::StoreKind;
pub use unmanifested::LARGEST_UNMANIFESTED;
