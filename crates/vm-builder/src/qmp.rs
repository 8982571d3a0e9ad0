//! QEMU's own control channel: its greeting proves that the machine exists, its events say how it fares and how
//! it ended.
//!
//! The protocol is one JSON object a line (QEMU, `docs/interop/qmp-spec`). A schema of all events would be in the way:
//! an event of a later QEMU must not keep those after it from being heard.

use std::io;

use futures::StreamExt;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::task::AbortOnDropHandle;

use crate::machine::STDOUT;

/// A connection to a QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    seen: watch::Receiver<Seen>,
    _listener: AbortOnDropHandle<()>,
}

/// What QEMU has told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Whether it takes commands, as it does once it has made the machine.
    pub(crate) has_greeted: bool,
    version: String,
    /// Why the machine stopped, when it did.
    pub(crate) shutdown: Option<Shutdown>,
    /// What befell the machine first.
    pub(crate) fault: Option<MachineFault>,
    /// How often the guest has closed the port that carries standard output.
    stdout_closings: u64,
}

/// Tells when the guest closes the port that carries standard output, as a command does that ends.
///
/// A sign, not a proof: a command may close it earlier, or leave it to others who still have it open. QEMU tells of
/// a port once a second at most, the first change at once.
#[derive(Debug)]
pub(crate) struct StdoutClosings {
    seen: watch::Receiver<Seen>,
    heard_of: u64,
}

/// Why a machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// The guest powered off.
    PoweredOff,
    /// The guest rebooted, which ends a machine here.
    Rebooted,
    /// For another reason.
    Other,
}

/// Something that a machine does not recover from, though QEMU goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MachineFault {
    /// The guest's disk would be larger than a file of QEMU's may be.
    DiskLimit,
    /// The host's disk is full.
    HostDiskFull,
    /// The guest's disk cannot be read or written.
    Disk(String),
    /// The guest's kernel said that it gave up.
    Panicked,
}

impl Qmp {
    /// Takes part in QEMU's events from its greeting on.
    pub(crate) fn open(socket: UnixStream) -> Self {
        let (tell, seen) = watch::channel(Seen::default());
        let listener = tokio::spawn(async move {
            if let Err(error) = listen(socket, &tell).await {
                tracing::debug!(%error, "QEMU's control channel broke");
            }
        });
        Self {
            seen,
            _listener: AbortOnDropHandle::new(listener),
        }
    }

    /// Waits for QEMU's greeting.
    pub(crate) async fn greeted(&self) -> io::Result<()> {
        let mut seen = self.seen.clone();
        let greeted = seen.wait_for(|seen| seen.has_greeted).await;
        greeted
            .map(drop)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// QEMU's version, as it greeted: `7.2.22`.
    pub(crate) fn version(&self) -> String {
        self.seen.borrow().version.clone()
    }

    /// Waits until something befalls the machine. If nothing does, for ever.
    pub(crate) async fn fault(&self) -> MachineFault {
        let mut seen = self.seen.clone();
        let fault = match seen.wait_for(|seen| seen.fault.is_some()).await {
            Ok(seen) => seen.fault.clone(),
            Err(_) => None,
        };
        match fault {
            Some(fault) => fault,
            None => std::future::pending().await,
        }
    }

    /// The closings of standard output's port from now on.
    pub(crate) fn stdout_closings(&self) -> StdoutClosings {
        let seen = self.seen.clone();
        let heard_of = seen.borrow().stdout_closings;
        StdoutClosings { seen, heard_of }
    }

    /// All that QEMU has told in its life. Asked after its end: the channel ends with it, and what came before its
    /// end is read before it.
    pub(crate) async fn last_seen(&self) -> Seen {
        let mut seen = self.seen.clone();
        while seen.changed().await.is_ok() {}
        let last = seen.borrow();
        last.clone()
    }
}

impl StdoutClosings {
    /// Waits for the next one, for ever if there is none. Dropping the future loses none.
    pub(crate) async fn next(&mut self) {
        let heard_of = self.heard_of;
        let closed = self.seen.wait_for(|seen| seen.stdout_closings > heard_of);
        let closings = closed.await.map(|seen| seen.stdout_closings);
        match closings {
            Ok(closings) => self.heard_of = closings,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Longer than any event that QEMU sends.
const LONGEST_LINE: usize = 64 << 10;

async fn listen(socket: UnixStream, tell: &watch::Sender<Seen>) -> io::Result<()> {
    // Dropping the half that commands go to would close the connection.
    let (read, mut commands) = socket.into_split();
    let mut lines = FramedRead::new(read, LinesCodec::new_with_max_length(LONGEST_LINE));
    while let Some(line) = lines.next().await {
        let message: Value = serde_json::from_str(&line.map_err(io::Error::other)?)?;
        if let Some(greeting) = message.get("QMP") {
            let version = version(&greeting["version"]["qemu"]);
            tell.send_modify(|seen| seen.version = version);
            // Until then QEMU tells no events.
            let command = b"{\"execute\": \"qmp_capabilities\"}\n";
            commands.write_all(command).await?;
        } else if message.get("return").is_some() {
            tell.send_modify(|seen| seen.has_greeted = true);
        } else {
            tracing::trace!(%message, "QEMU event");
            tell.send_modify(|seen| seen.hear(&message));
        }
    }
    Ok(())
}

fn version(of: &Value) -> String {
    let number = |part| of[part].as_u64().unwrap_or_default();
    format!(
        "{}.{}.{}",
        number("major"),
        number("minor"),
        number("micro")
    )
}

impl Seen {
    fn hear(&mut self, message: &Value) {
        let data = &message["data"];
        let fault = match message["event"].as_str() {
            Some("SHUTDOWN") => {
                self.shutdown = Some(match data["reason"].as_str() {
                    Some("guest-shutdown") => Shutdown::PoweredOff,
                    Some("guest-reset") => Shutdown::Rebooted,
                    _ => Shutdown::Other,
                });
                return;
            }
            Some("BLOCK_IO_ERROR") => disk_fault(
                data["nospace"] == true,
                data["reason"].as_str().unwrap_or_default(),
            ),
            Some("GUEST_PANICKED") => MachineFault::Panicked,
            Some("VSERPORT_CHANGE") => {
                if data["id"] == STDOUT && data["open"] == false {
                    self.stdout_closings += 1;
                }
                return;
            }
            _ => return,
        };
        self.fault.get_or_insert(fault);
    }
}

/// What QEMU says is the text of an `errno`, in the language of a process without a locale.
fn disk_fault(is_no_space: bool, reason: &str) -> MachineFault {
    match reason {
        _ if is_no_space => MachineFault::HostDiskFull,
        "File too large" => MachineFault::DiskLimit,
        other => MachineFault::Disk(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#;

    /// A control channel on which QEMU says `events` after its greeting, and ends.
    async fn told(events: &[&str]) -> Seen {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qmp = Qmp::open(ours);
        let mut theirs = BufReader::new(theirs);
        let mut say = format!("{GREETING}\n");
        theirs.write_all(say.as_bytes()).await.unwrap();
        let mut command = String::new();
        theirs.read_line(&mut command).await.unwrap();
        assert!(command.contains("qmp_capabilities"), "{command}");
        "{\"return\": {}}\n".clone_into(&mut say);
        for event in events {
            say.push_str(event);
            say.push('\n');
        }
        theirs.write_all(say.as_bytes()).await.unwrap();
        drop(theirs);
        qmp.last_seen().await
    }

    fn disk_error(reason: &str, is_no_space: bool) -> String {
        format!(
            r#"{{"timestamp": {{"seconds": 1, "microseconds": 1}}, "event": "BLOCK_IO_ERROR", "data": {{"device": "", "nospace": {is_no_space}, "node-name": "disk", "reason": "{reason}", "operation": "write", "action": "report"}}}}"#
        )
    }

    const STAMP: &str = r#""timestamp": {"seconds": 1, "microseconds": 1}"#;

    #[tokio::test]
    async fn the_first_fault_and_the_cause_of_the_end_are_kept() {
        let shutdown = format!(
            r#"{{{STAMP}, "event": "SHUTDOWN", "data": {{"guest": true, "reason": "guest-reset"}}}}"#
        );
        let news = format!(r#"{{{STAMP}, "event": "NEWS_OF_A_LATER_RELEASE", "data": {{}}}}"#);
        let seen = told(&[
            &news,
            &disk_error("File too large", false),
            &disk_error("Input/output error", false),
            &shutdown,
        ])
        .await;
        assert!(seen.has_greeted);
        assert_eq!(seen.fault, Some(MachineFault::DiskLimit));
        assert_eq!(seen.shutdown, Some(Shutdown::Rebooted));
    }

    #[tokio::test]
    async fn only_the_closing_of_standard_output_counts_as_one() {
        let change = |id: &str, open: bool| {
            format!(
                r#"{{{STAMP}, "event": "VSERPORT_CHANGE", "data": {{"id": "{id}", "open": {open}}}}}"#
            )
        };
        let changes = [("stdout", true), ("stderr", false), ("stdout", false)];
        let changes = changes.map(|(id, open)| change(id, open));
        for (heard, closings) in [(2, 0), (3, 1)] {
            let events: Vec<_> = changes[..heard].iter().map(String::as_str).collect();
            assert_eq!(told(&events).await.stdout_closings, closings);
        }
    }

    #[tokio::test]
    async fn a_closing_is_told_once_and_not_before_it_comes() {
        let (tell, seen) = watch::channel(Seen::default());
        let mut closings = StdoutClosings { seen, heard_of: 0 };
        let close = || tell.send_modify(|seen| seen.stdout_closings += 1);
        assert!(closings.next().now_or_never().is_none());
        close();
        close();
        assert!(closings.next().now_or_never().is_some());
        assert!(closings.next().now_or_never().is_none());
        drop(tell);
        assert!(closings.next().now_or_never().is_none(), "the end is none");
    }

    #[tokio::test]
    async fn what_befalls_a_disk_is_told_apart() {
        for (event, fault) in [
            (
                disk_error("No space left on device", true),
                MachineFault::HostDiskFull,
            ),
            (
                disk_error("Input/output error", false),
                MachineFault::Disk("Input/output error".to_owned()),
            ),
        ] {
            assert_eq!(told(&[&event]).await.fault, Some(fault));
        }
        assert_eq!(told(&[]).await.fault, None);
    }
}
