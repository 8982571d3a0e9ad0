use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opendal::raw::{BoxedStaticFuture, Layer, Servicer};
use opendal::{Error, ErrorKind, Execute, Executor, OperationContext, Operator, Writer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// A part of a multipart upload, in bytes: few enough requests, and small enough to be sent again.
pub const PART_BYTES: usize = 8 << 20;
/// How many parts are under way at once, each held in memory: enough to hide a round trip.
pub const PARTS_AT_ONCE: usize = 4;

/// An object on its way to the store. It is there once [`finish`](Self::finish) has returned, and not before.
///
/// The parts are written by a task of their own: one that is given up in the midst of a write could not tell
/// the store to forget them. Dropping this without finishing has the task do that.
#[derive(Debug)]
#[must_use = "what is not finished is aborted"]
pub(crate) struct Parts {
    bytes: mpsc::Sender<Option<Bytes>>,
    done: oneshot::Receiver<Result<Written, Error>>,
}

/// How an upload ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// The object is the one that was sent.
    Now,
    /// There was one already.
    Before,
}

impl Parts {
    /// Begins the object `path`; with `only_new`, one that is not made if there is one already.
    pub(crate) fn begin(
        store: &Operator,
        path: &str,
        only_new: bool,
        cleaning: &TaskTracker,
    ) -> Self {
        let (bytes, more) = mpsc::channel(1);
        let (told, done) = oneshot::channel();
        let (store, path) = (store.clone(), path.to_owned());
        cleaning.spawn(async move {
            let written = write(&store, &path, only_new, more).await;
            let _ = told.send(written);
        });
        Self { bytes, done }
    }

    /// The next bytes. Says whether there is still somebody to take them; if not, [`finish`](Self::finish)
    /// says why.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> bool {
        self.bytes.send(Some(bytes)).await.is_ok()
    }

    /// Makes the object of what was written.
    pub(crate) async fn finish(self) -> Result<Written, Error> {
        let _ = self.bytes.send(None).await;
        let given_up = |_| Err(Error::new(ErrorKind::Unexpected, "the upload was given up"));
        self.done.await.unwrap_or_else(given_up)
    }
}

async fn write(
    store: &Operator,
    path: &str,
    only_new: bool,
    mut more: mpsc::Receiver<Option<Bytes>>,
) -> Result<Written, Error> {
    let under_way = TaskTracker::new();
    let store = store.clone().layer(Tracked(under_way.clone()));
    let writer = store
        .writer_with(path)
        .chunk(PART_BYTES)
        .concurrent(PARTS_AT_ONCE);
    let writer = match only_new {
        true => writer.if_not_exists(true).await,
        false => writer.await,
    };
    let mut writer = match writer {
        Err(error) if only_new && error.kind() == ErrorKind::ConditionNotMatch => {
            return Ok(Written::Before);
        }
        writer => writer?,
    };
    let sent = loop {
        match more.recv().await {
            Some(Some(bytes)) => {
                if let Err(error) = writer.write(bytes).await {
                    break Err(error);
                }
            }
            Some(None) => break writer.close().await.map(drop),
            None => {
                abort(&mut writer, path, &under_way).await;
                return Err(Error::new(ErrorKind::Unexpected, "nobody finished it"));
            }
        }
    };
    match sent {
        Ok(()) => Ok(Written::Now),
        Err(error) => {
            abort(&mut writer, path, &under_way).await;
            match error.kind() {
                ErrorKind::ConditionNotMatch if only_new => Ok(Written::Before),
                _ => Err(error),
            }
        }
    }
}

/// How long parts that are under way are waited for before the store is told to forget them all.
const STRAGGLERS: Duration = Duration::from_secs(30);

/// Parts that nobody completes stay in the store, and are paid for. So does one that arrives after the store was
/// told to forget the others.
async fn abort(writer: &mut Writer, path: &str, under_way: &TaskTracker) {
    under_way.close();
    let _ = tokio::time::timeout(STRAGGLERS, under_way.wait()).await;
    if let Err(error) = writer.abort().await {
        tracing::debug!(path, %error, "cannot abort an upload");
    }
}

/// Has one upload's parts tracked, which the store writes by tasks of its own.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl Layer for Tracked {
    fn apply_service(&self, inner: Servicer) -> Servicer {
        inner
    }

    fn apply_context(&self, _: Servicer, inner: OperationContext) -> OperationContext {
        let executor = TrackedExecutor {
            inner: inner.executor().clone().into_inner(),
            tasks: self.0.clone(),
        };
        inner.with_executor(Executor::with(executor))
    }
}

struct TrackedExecutor {
    inner: Arc<dyn Execute>,
    tasks: TaskTracker,
}

impl Execute for TrackedExecutor {
    fn execute(&self, task: BoxedStaticFuture<()>) {
        self.inner.execute(Box::pin(self.tasks.track_future(task)));
    }

    fn timeout(&self) -> Option<BoxedStaticFuture<()>> {
        self.inner.timeout()
    }
}
