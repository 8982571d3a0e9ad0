use std::fmt::{Debug, Display};

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};

use crate::{LayerError, Lookup, Snapshot, Staging};

/// One tier of the cache.
///
/// `Display` names the tier and where it keeps things (`l2-disk(/var/cache/snaptier)`), so that a log
/// line shows the whole stack. It must not print credentials.
///
/// Every method may be called from many tasks at once, for the same key too.
#[async_trait]
pub trait CacheLayer: Debug + Display + Send + Sync {
    /// The tier's short, stable name: `l2-disk`, `l3-remote`. It is what an answer gives as its
    /// source, and the label of the tier's statistics.
    fn name(&self) -> &'static str;

    /// Looks for the snapshot of `spec`.
    ///
    /// # Behavior
    ///
    /// - A hit is a snapshot in local files, whole and checked, whose manifest's spec equals the
    ///   canonical form of `spec` and whose backing file is `spec`'s base image on this host.
    /// - A key that is there with another spec in its manifest is a miss: a key names, it does not prove.
    /// - A layer that has to bring the bytes from elsewhere makes them in `staging`, and the snapshot
    ///   keeps the staged file alive. A local layer ignores `staging` and answers with its own files.
    /// - Not being there is [`Lookup::Miss`]. A missing credential, a refused access or a server that
    ///   does not answer is an error, never a miss.
    /// - A damaged entry that the layer can remove is removed, with a warning, and is a miss.
    /// - Cancelling (dropping the future) leaves nothing half-made that a later `get` could find.
    ///
    /// # Errors
    ///
    /// See [`LayerErrorKind`](crate::LayerErrorKind).
    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError>;

    /// Stores `snapshot` under its key and says where it now lives.
    ///
    /// # Behavior
    ///
    /// - Atomic: a concurrent `get` sees it whole, or not at all.
    /// - Idempotent: storing what is already there succeeds. A sound entry of the same spec may stay as it is, with
    ///   other bytes than `snapshot`'s; what comes back is what is there.
    /// - `snapshot`'s own file is left as it is; when it is staged and on the layer's file system it
    ///   may be linked rather than copied, so nobody may write to it afterwards.
    /// - A layer whose entries are not local files returns `snapshot` unchanged.
    /// - Cancelling leaves either the whole entry or none.
    ///
    /// # Errors
    ///
    /// See [`LayerErrorKind`](crate::LayerErrorKind).
    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError>;

    /// Removes what is stored under `key`. Removing what is not there succeeds. A layer that hands out its own
    /// files refuses one that is in use, as [`Unavailable`](crate::LayerErrorKind::Unavailable) for a time.
    ///
    /// # Errors
    ///
    /// See [`LayerErrorKind`](crate::LayerErrorKind).
    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError>;
}
