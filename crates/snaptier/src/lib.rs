//! A snapshot cache for microVMs: from a package list to a bootable disk.
//!
//! [`SnapshotCache`] is the whole stack, wired as its [builder](SnapshotCacheBuilder) says: the local disk, then a remote
//! store if one is named, then a builder that boots a virtual machine and installs the packages inside it. Tiers and a
//! builder of one's own go beside them. Those who want another stack still compose theirs from the crates that this one is
//! made of.
//!
#![doc = include_str!("../README.md")]

mod builder;
mod cache;
mod error;
mod images;
mod import;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod settings;

pub use builder::SnapshotCacheBuilder;
pub use cache::SnapshotCache;
pub use error::{Error, OpenError, SettingsError};
pub use images::guest_image;
pub use import::{ImportError, import_image};
pub use settings::Settings;

/// The README's own example is compiled with those of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
