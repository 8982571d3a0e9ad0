//! What the flights share and run on. The test `interleavings` has a module of the same face, by which every
//! step of theirs can be interleaved with every other.

pub(crate) use std::sync::Mutex;

use tokio_util::task::AbortOnDropHandle;

/// Runs `work` on a task of its own, which is aborted when its handle is dropped.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(work))
}
