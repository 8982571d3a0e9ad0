//! What the guest's command writes, on its way to this process's own streams.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use vm_builder::OutputStream;

/// Hands chunks to a thread that writes them: a reader who does not read holds up that thread and the guest, and
/// nothing else.
#[derive(Debug)]
pub(crate) struct Output {
    chunks: mpsc::Sender<(OutputStream, Bytes)>,
    stop: CancellationToken,
}

/// How the writing ends.
#[derive(Debug)]
pub(crate) struct Written(oneshot::Receiver<io::Result<()>>);

impl Output {
    /// Starts the thread. Nothing waits for it once `stop` is cancelled.
    pub(crate) fn start(stop: CancellationToken) -> (Self, Written) {
        let (chunks, mut receive) = mpsc::channel::<(OutputStream, Bytes)>(1);
        let (end, written) = oneshot::channel();
        std::thread::spawn(move || {
            let mut write_all = || {
                while let Some((stream, bytes)) = receive.blocking_recv() {
                    write(stream, &bytes)?;
                }
                Ok(())
            };
            let _ = end.send(write_all());
        });
        (Self { chunks, stop }, Written(written))
    }

    /// Waits until the thread has room for the bytes.
    pub(crate) fn take(&self, stream: OutputStream, bytes: &[u8]) -> io::Result<()> {
        let chunk = (stream, Bytes::copy_from_slice(bytes));
        let sent = async {
            tokio::select! {
                sent = self.chunks.send(chunk) => sent.is_ok(),
                () = self.stop.cancelled() => false,
            }
        };
        if tokio::task::block_in_place(|| Handle::current().block_on(sent)) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
}

impl Written {
    /// Waits until all is written, which is when the [`Output`] is dropped, or something could not be.
    pub(crate) async fn end(self) -> io::Result<()> {
        let ended = self.0.await;
        ended.unwrap_or_else(|_| Err(io::Error::other("the thread that writes is gone")))
    }
}

fn write(stream: OutputStream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        OutputStream::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        OutputStream::Stderr => io::stderr().write_all(bytes),
    }
}
