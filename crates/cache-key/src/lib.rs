//! What is asked for, and its name.
//!
//! A [`SnapshotSpec`] is a base image and a [`PackageSet`]; its [`CacheKey`] is the short text under
//! which every tier of the cache keeps the snapshot. A key *names*: 64 bits of CRC can collide. What
//! *proves* is the spec's [`CanonicalSpec`], which goes along in the snapshot's manifest and must equal
//! that of the spec asked for.
//!
//! Nothing here does I/O, and the size of a VM's memory or its processors is no part of a spec: they
//! leave no trace on a disk.

mod base_image;
mod cache_key;
mod language;
mod package_set;
mod spec;

pub use base_image::{BaseImage, DiskFormat, ImageDigest, ParseImageDigestError};
pub use cache_key::{CacheKey, KeyVersion, ParseCacheKeyError};
pub use language::{Language, ParseLanguageError};
pub use package_set::{PackageError, PackageSet};
pub use spec::{CanonicalSpec, SnapshotSpec};
