/// Runs work that waits for the file system or the processor on a thread that may, and gives its result. A
/// panic of the work is the caller's.
///
/// Dropping the future does not stop work that has begun: it runs to its end, and its result is dropped.
///
/// # Panics
///
/// The work does, or the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => panic!("the runtime is shutting down: {cancelled}"),
        },
    }
}
