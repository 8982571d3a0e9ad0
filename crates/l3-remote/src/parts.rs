use std::time::Duration;

use bytes::Bytes;
use opendal::{Error, ErrorKind, Operator, Writer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// A part of a multipart upload, and how many are under way at once.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;

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
                abort(&mut writer, path).await;
                return Err(Error::new(ErrorKind::Unexpected, "nobody finished it"));
            }
        }
    };
    match sent {
        Ok(()) => Ok(Written::Now),
        Err(error) => {
            abort(&mut writer, path).await;
            match error.kind() {
                ErrorKind::ConditionNotMatch if only_new => Ok(Written::Before),
                _ => Err(error),
            }
        }
    }
}

/// How long a part that was sent before an abort may be on its way.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Parts that nobody completes stay in the store, and are paid for. One that arrives after the store was told
/// to forget them stays too: it is told twice, as Amazon advises.
async fn abort(writer: &mut Writer, path: &str) {
    if let Err(error) = writer.abort().await {
        tracing::debug!(path, %error, "cannot abort an upload");
    }
    tokio::time::sleep(STRAGGLERS).await;
    // Most often there is nothing left to forget, which some call an error.
    let _ = writer.abort().await;
}
