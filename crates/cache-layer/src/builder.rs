use std::fmt::{Debug, Display};

use async_trait::async_trait;
use cache_key::SnapshotSpec;

use crate::{BuildError, Snapshot, Staging};

/// Makes the snapshot that no layer has.
///
/// `Display` names the builder in one line (`vm-builder(qemu-system-x86_64)`), for a log line that shows the whole stack.
#[async_trait]
pub trait SnapshotBuilder: Debug + Display + Send + Sync {
    /// Builds the snapshot of `spec` in `staging`.
    ///
    /// # Behavior
    ///
    /// - The snapshot is complete and closed: its manifest's digest is that of the file's bytes, its spec is the
    ///   canonical form of `spec`, its backing file is `spec`'s base image, and nothing has the file open any more.
    /// - The snapshot keeps its staged file alive; dropping the last clone removes it.
    /// - Not idempotent: two calls build twice, and their bytes may differ. One build per key is the hierarchy's
    ///   business.
    /// - Concurrency: any number of builds may run at once, of the same spec too; they know nothing of each other.
    /// - Atomic: until it has answered, nobody but the builder knows the file. An error leaves nothing in `staging`.
    /// - Cancelling (dropping the future) stops the build and leaves no process and no file behind. So does the death of
    ///   the process, as soon as `staging` is opened again.
    ///
    /// # Errors
    ///
    /// The packages cannot be installed ([`Packages`](crate::BuildErrorKind::Packages)), this host cannot build
    /// ([`Host`](crate::BuildErrorKind::Host)), or it may work later ([`Temporary`](crate::BuildErrorKind::Temporary)).
    /// [`Internal`](crate::BuildErrorKind::Internal) is a defect.
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError>;
}
