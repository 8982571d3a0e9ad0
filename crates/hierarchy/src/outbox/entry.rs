use std::path::PathBuf;

use cache_key::{BaseImage, CacheKey, CanonicalSpec, DiskFormat, SnapshotSpec};
use cache_layer::{LayerError, Snapshot};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::layout::Name;

/// The format of entries that this crate writes. It reads this one and every older one.
pub(super) const FORMAT_VERSION: u32 = 1;

/// An upload that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PendingUpload {
    /// What is to be uploaded.
    pub key: CacheKey,
    /// The name of the remote layer: `l3-remote`.
    pub layer: String,
    /// The remote layer as it prints itself, with the place where it keeps things.
    pub remote: String,
    /// The length of the snapshot's file in bytes.
    pub bytes: u64,
    /// When it was to be uploaded first.
    pub added_at: Timestamp,
    /// How often it was tried and failed. A try that was cut off by the end of its process is none.
    pub attempts: u32,
    /// When it is to be tried next; a time that is past means as soon as somebody does.
    pub next_try: Timestamp,
    /// Why it failed last; `None` if it never did.
    pub last_error: Option<LastError>,
}

/// Why an upload failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// The short name of the error's kind, as [`LayerErrorKind::as_str`](cache_layer::LayerErrorKind::as_str) has it.
    pub kind: String,
    /// The error and its causes, one after another.
    pub message: String,
}

/// The same as it stands in the file, with what is needed to find the snapshot in a local layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) format_version: u32,
    pub(super) key: CacheKey,
    pub(super) layer: String,
    pub(super) remote: String,
    pub(super) spec: CanonicalSpec,
    /// Where this host has the base image: a local layer's hit is a snapshot over that very file.
    pub(super) base_path: PathBuf,
    pub(super) base_format: DiskFormat,
    pub(super) bytes: u64,
    pub(super) added_at: Timestamp,
    pub(super) attempts: u32,
    pub(super) next_try: Timestamp,
    pub(super) last_error: Option<LastError>,
}

impl Entry {
    /// The upload of `snapshot`, which was asked for as `spec`, due `now`.
    pub(super) fn new(
        spec: &SnapshotSpec,
        snapshot: &Snapshot,
        layer: &str,
        remote: String,
        now: Timestamp,
    ) -> Self {
        let base = spec.base_image();
        Self {
            format_version: FORMAT_VERSION,
            key: snapshot.key().clone(),
            layer: layer.to_owned(),
            remote,
            spec: spec.canonical(),
            base_path: base.path().to_owned(),
            base_format: base.format(),
            bytes: snapshot.manifest().disk().file_bytes,
            added_at: now,
            attempts: 0,
            next_try: now,
            last_error: None,
        }
    }

    pub(super) fn name(&self) -> Name {
        Name::new(&self.key, &self.remote)
    }

    /// What a local layer is to be asked for; `None` if it can have no answer: the base image is gone, or the release
    /// that wrote this had other keys.
    pub(super) fn spec(&self) -> Option<SnapshotSpec> {
        if self.spec.key() != self.key || !self.base_path.is_absolute() || !self.base_path.exists()
        {
            return None;
        }
        let base = BaseImage::new(&self.base_path, self.base_format, self.spec.base_image());
        Some(SnapshotSpec::new(base, self.spec.packages().clone()))
    }

    pub(super) fn view(&self) -> PendingUpload {
        PendingUpload {
            key: self.key.clone(),
            layer: self.layer.clone(),
            remote: self.remote.clone(),
            bytes: self.bytes,
            added_at: self.added_at,
            attempts: self.attempts,
            next_try: self.next_try,
            last_error: self.last_error.clone(),
        }
    }
}

impl LastError {
    pub(super) fn new(error: &LayerError, at: Timestamp) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self {
            at,
            kind: error.kind().as_str().to_owned(),
            message,
        }
    }
}
