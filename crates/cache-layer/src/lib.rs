//! The contract between cache layers, snapshot builders and the hierarchy that composes them.
//!
//! A *layer* ([`CacheLayer`]) is one tier of the cache; a *builder* ([`SnapshotBuilder`]) makes what
//! no tier has. Both trade in [`Snapshot`]s: a qcow2 file on this host plus its [`Manifest`]. A hit
//! and a miss are values ([`Lookup`]); an error says what the caller should do ([`LayerErrorKind`],
//! [`BuildErrorKind`]).
//!
//! Whoever writes a new tier needs this crate and `cache-key`, and nothing else of the workspace; `cache-layer-testkit`
//! tries whether it keeps the contract.

mod backoff;
mod blocking;
mod build_error;
mod builder;
mod digest;
mod explanation;
mod layer;
mod layer_error;
mod lock;
mod lookup;
mod manifest;
mod near;
mod progress;
mod progress_channel;
mod snapshot;
mod staging;

pub use backoff::backoff;
pub use blocking::blocking;
pub use build_error::{BuildError, BuildErrorKind};
pub use builder::SnapshotBuilder;
pub use digest::{ContentDigest, ContentHasher, ParseContentDigestError};
pub use explanation::Explanation;
pub use layer::CacheLayer;
pub use layer_error::{LayerError, LayerErrorKind};
pub use lock::KeyLock;
pub use lookup::Lookup;
pub use manifest::{
    Disk, MANIFEST_FORMAT_VERSION, MAX_MANIFEST_BYTES, Manifest, ManifestError, Provenance,
    ResolvedPackage, Tool,
};
pub use near::{Kinship, Near};
pub use progress::{InPhase, NoProgress, Phase, ProgressEvent, ProgressSink, Retrying, Subject};
pub use progress_channel::{
    Progress, ProgressReceiver, ProgressSender, SubjectBuf, WhatHappened, progress_channel,
};
pub use snapshot::Snapshot;
pub use staging::{StagedFile, Staging};

/// The source of an error, whatever its type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
