//! The remote tier: snapshots as zstd objects in S3, GCS, a directory or memory.
//!
//! One snapshot is one object, `{prefix}snapshots/{key}.qcow2.zst`, so that it appears and disappears in one
//! step. Its layout is that of [`object`]: `zstd -d` turns it back into the qcow2 file.
//!
//! What comes from a bucket is believed in nothing: the manifest must be that of the request, the size that
//! it declares bounds what is unpacked, the bytes must have the digest that it declares, and the qcow2
//! header must be that of a plain overlay before it is made to name this host's base image.

mod fault;
mod layer;
mod location;
pub mod object;
mod receive;
mod send;
mod unpacked;

pub use layer::RemoteLayer;
pub use location::{LocationError, RemoteLocation};
