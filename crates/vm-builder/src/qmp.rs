//! QEMU's own control channel: its greeting proves that the machine exists, its events say how it ended.

use futures::StreamExt;
use qapi::futures::{QapiEvents, QapiService, QmpStreamTokio};
use qapi::qmp;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

type Service = QapiService<QmpStreamTokio<WriteHalf<UnixStream>>>;
type Events = QapiEvents<QmpStreamTokio<ReadHalf<UnixStream>>>;

/// A connection to a QEMU that has greeted.
pub(crate) struct Qmp {
    /// Dropping it closes the connection.
    _service: Service,
    version: String,
    shutdown: watch::Receiver<Option<qmp::ShutdownCause>>,
    listener: JoinHandle<()>,
}

impl Qmp {
    /// Waits for QEMU's greeting and takes part in its events.
    pub(crate) async fn connect(socket: UnixStream) -> std::io::Result<Self> {
        let greeted = QmpStreamTokio::open(socket).await?;
        let version = &greeted.capabilities.QMP.version.qemu;
        let version = format!("{}.{}.{}", version.major, version.minor, version.micro);
        let (service, events) = greeted.negotiate().await?.into_parts();
        let (cause, shutdown) = watch::channel(None);
        let listener = tokio::spawn(listen(events, cause));
        Ok(Self {
            _service: service,
            version,
            shutdown,
            listener,
        })
    }

    /// QEMU's version, as it greeted: `7.2.22`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether the guest itself powered off. Asked after QEMU has ended.
    pub(crate) async fn guest_powered_off(mut self) -> bool {
        // The channel ends with QEMU, and what came before its end is read before it.
        let _ = (&mut self.listener).await;
        *self.shutdown.borrow() == Some(qmp::ShutdownCause::guest_shutdown)
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(mut events: Events, cause: watch::Sender<Option<qmp::ShutdownCause>>) {
    while let Some(event) = events.next().await {
        match event {
            Ok(qmp::Event::SHUTDOWN { data, .. }) => {
                let _ = cause.send(Some(data.reason));
            }
            Ok(event) => tracing::trace!(?event, "QEMU event"),
            // An event that is newer than the schema is nothing to us.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                tracing::trace!(%error, "QEMU event that is not known");
            }
            Err(error) => {
                tracing::debug!(%error, "QEMU's control channel broke");
                return;
            }
        }
    }
}
