use std::fmt::{Debug, Display};

use async_trait::async_trait;
use cache_key::SnapshotSpec;

use crate::{BuildError, Snapshot, Staging};

/// Makes the snapshot that no layer has.
#[async_trait]
pub trait SnapshotBuilder: Debug + Display + Send + Sync {
    /// Builds the snapshot of `spec` in `staging`.
    ///
    /// # Behavior
    ///
    /// - The snapshot is complete and closed: its manifest's digest is that of the file's bytes, and
    ///   nothing has the file open any more.
    /// - The snapshot keeps its staged file alive; dropping the last clone removes it.
    /// - Not idempotent: two calls build twice. One build per key is the hierarchy's business.
    /// - Cancelling (dropping the future) stops the build and leaves no process and no file behind.
    ///
    /// # Errors
    ///
    /// See [`BuildErrorKind`](crate::BuildErrorKind).
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError>;
}
