//! What `src/concurrency.rs` is to the product.

use std::pin::Pin;
use std::task::{Context, Poll};

use shuttle::future::{JoinError, JoinHandle};
pub(crate) use shuttle::sync::Mutex;

/// Runs `work` on a task of its own, which is aborted when its handle is dropped.
pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle(shuttle::future::spawn(work))
}

pub(crate) struct AbortOnDropHandle<T>(JoinHandle<T>);

impl<T> Future for AbortOnDropHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDropHandle<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
