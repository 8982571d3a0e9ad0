//! The QEMU guest agent: starting commands and writing files inside the guest.

use std::io;
use std::time::Duration;

use qapi::futures::{QapiService, QgaStreamTokio};
use qapi::{ExecuteError, qga};
use thiserror::Error;
use tokio::io::WriteHalf;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// A connection to the agent in a guest.
pub(crate) struct GuestAgent {
    service: QapiService<QgaStreamTokio<WriteHalf<UnixStream>>>,
    reader: JoinHandle<()>,
}

/// A command that the agent started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GuestPid(i64);

/// How a guest's command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestExit {
    /// With this code.
    Code(u8),
    /// Killed by this signal.
    Signal(u8),
}

/// The agent did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum GuestAgentError {
    #[error("the guest agent refused: {0}")]
    Refused(String),
    #[error("the guest agent's channel broke")]
    Channel(#[source] io::Error),
    #[error("the guest agent answered nonsense: {0}")]
    Nonsense(&'static str),
}

/// The agent tells nobody when a command ends, so it is asked again, ever more rarely.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const RAREST_LOOK: Duration = Duration::from_millis(150);
/// A file is written in pieces of this many bytes, well below the agent's limit on a message.
const PIECE: usize = 48 << 10;

impl GuestAgent {
    pub(crate) fn connect(socket: UnixStream) -> Self {
        let (service, reader) = QgaStreamTokio::open(socket).spawn_tokio();
        Self { service, reader }
    }

    /// Waits until the agent answers. The question waits in the channel until the guest opens it.
    pub(crate) async fn answers(&self) -> Result<(), GuestAgentError> {
        // Any number will do that an answer to somebody else would not carry.
        let number = i32::try_from(std::process::id()).unwrap_or(1);
        Ok(self.service.guest_sync(number).await?)
    }

    /// Starts `program` with `args` in the agent's own environment.
    pub(crate) async fn start(
        &self,
        program: &str,
        args: Vec<String>,
    ) -> Result<GuestPid, GuestAgentError> {
        let exec = qga::guest_exec {
            path: program.to_owned(),
            arg: Some(args),
            env: None,
            input_data: None,
            capture_output: None,
        };
        Ok(GuestPid(self.service.execute(exec).await?.pid))
    }

    /// Waits until a started command has ended.
    pub(crate) async fn ended(&self, pid: GuestPid) -> Result<GuestExit, GuestAgentError> {
        let mut pause = FIRST_LOOK;
        loop {
            let status = self
                .service
                .execute(qga::guest_exec_status { pid: pid.0 })
                .await?;
            if status.exited {
                return exit(status.exitcode, status.signal);
            }
            tokio::time::sleep(pause).await;
            pause = RAREST_LOOK.min(pause * 2);
        }
    }

    /// Makes the file `path` with these bytes, or replaces what it holds.
    pub(crate) async fn write_file(&self, path: &str, bytes: &[u8]) -> Result<(), GuestAgentError> {
        let open = qga::guest_file_open {
            path: path.to_owned(),
            mode: Some("w".to_owned()),
        };
        let handle = self.service.execute(open).await?;
        for mut piece in bytes.chunks(PIECE) {
            while !piece.is_empty() {
                let write = qga::guest_file_write {
                    handle,
                    buf_b64: piece.to_vec(),
                    count: None,
                };
                let written =
                    usize::try_from(self.service.execute(write).await?.count).unwrap_or(0);
                piece = match piece.get(written..) {
                    Some(rest) if written > 0 => rest,
                    _ => return Err(GuestAgentError::Nonsense("the count of bytes written")),
                };
            }
        }
        self.service
            .execute(qga::guest_file_close { handle })
            .await?;
        Ok(())
    }

    /// Asks the guest to power off. There is no answer to wait for but the end of the VM.
    pub(crate) async fn power_off(&self) -> Result<(), GuestAgentError> {
        let mode = Some(qga::GuestShutdownMode::Powerdown);
        self.service.execute(qga::guest_shutdown { mode }).await?;
        Ok(())
    }
}

impl Drop for GuestAgent {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn exit(code: Option<i64>, signal: Option<i64>) -> Result<GuestExit, GuestAgentError> {
    let byte = |number: i64| {
        u8::try_from(number).map_err(|_| GuestAgentError::Nonsense("an exit code that is no byte"))
    };
    match (code, signal) {
        (Some(code), _) => byte(code).map(GuestExit::Code),
        (None, Some(signal)) => byte(signal).map(GuestExit::Signal),
        (None, None) => Err(GuestAgentError::Nonsense("an exit without a code")),
    }
}

impl GuestExit {
    /// The code that a shell would give: 128 and the signal's number for a killed command.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }

    /// Whether the command ended with code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl From<ExecuteError> for GuestAgentError {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Qapi(refusal) => Self::Refused(refusal.to_string()),
            ExecuteError::Io(error) => Self::Channel(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_a_code_or_a_signal_and_nothing_else() {
        assert_eq!(exit(Some(3), None).unwrap().code(), 3);
        assert_eq!(exit(None, Some(9)).unwrap().code(), 137);
        for (code, signal) in [
            (None, None),
            (Some(-1), None),
            (Some(256), None),
            (None, Some(1 << 40)),
        ] {
            exit(code, signal).unwrap_err();
        }
    }
}
