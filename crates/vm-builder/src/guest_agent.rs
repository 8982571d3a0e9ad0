//! The QEMU guest agent: starting commands and writing files inside the guest.

use std::time::Duration;

use qapi::{Command, qga};
use thiserror::Error;
use tokio::net::UnixStream;

use crate::agent_channel::{AgentChannel, ChannelError};
use crate::qmp::StdoutClosings;

/// A connection to the agent in a guest, which may be a stranger's.
#[derive(Debug)]
pub(crate) struct GuestAgent {
    channel: AgentChannel,
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
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the guest agent answered nonsense to `{command}`: {what}")]
    Nonsense { command: &'static str, what: String },
    #[error("the guest agent did not answer `{command}` within {} s", .after.as_secs())]
    Silent {
        command: &'static str,
        after: Duration,
    },
}

/// The agent tells nobody when a command ends, so it is asked again, ever more rarely unless there is a sign.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const RAREST_LOOK: Duration = Duration::from_millis(150);
/// The agent does nothing for long in answering: what takes time is asked for again and again.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);
/// A file is written in pieces of this many bytes, well below the agent's limit on a message.
const PIECE: usize = 48 << 10;

impl GuestAgent {
    pub(crate) fn connect(socket: UnixStream) -> Self {
        Self {
            channel: AgentChannel::new(socket),
        }
    }

    /// Waits until the agent answers, however long that takes. The question waits in the channel until the
    /// guest opens it.
    pub(crate) async fn answers(&self) -> Result<(), GuestAgentError> {
        // Any number will do.
        let id = 5_417;
        if self.channel.ask(qga::guest_sync { id }).await? == id {
            Ok(())
        } else {
            Err(nonsense::<qga::guest_sync>(
                "another number than it was to repeat",
            ))
        }
    }

    async fn ask<C: Command>(&self, command: C) -> Result<C::Ok, GuestAgentError> {
        match tokio::time::timeout(LONGEST_ANSWER, self.channel.ask(command)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(GuestAgentError::Silent {
                command: C::NAME,
                after: LONGEST_ANSWER,
            }),
        }
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
        Ok(GuestPid(self.ask(exec).await?.pid))
    }

    /// Waits until a started command has ended, of which a closing is a sign.
    pub(crate) async fn ended(
        &self,
        pid: GuestPid,
        mut closings: StdoutClosings,
    ) -> Result<GuestExit, GuestAgentError> {
        let mut pause = FIRST_LOOK;
        loop {
            let status = self.ask(qga::guest_exec_status { pid: pid.0 }).await?;
            if status.exited {
                return exit(status.exitcode, status.signal);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = RAREST_LOOK.min(pause * 2),
                () = closings.next() => pause = FIRST_LOOK,
            }
        }
    }

    /// Makes the file `path` with these bytes, or replaces what it holds.
    pub(crate) async fn write_file(&self, path: &str, bytes: &[u8]) -> Result<(), GuestAgentError> {
        let open = qga::guest_file_open {
            path: path.to_owned(),
            mode: Some("w".to_owned()),
        };
        let handle = self.ask(open).await?;
        for mut piece in bytes.chunks(PIECE) {
            while !piece.is_empty() {
                let write = qga::guest_file_write {
                    handle,
                    buf_b64: piece.to_vec(),
                    count: None,
                };
                let count = self.ask(write).await?.count;
                let rest = usize::try_from(count).ok().filter(|written| *written > 0);
                piece = rest
                    .and_then(|written| piece.get(written..))
                    .ok_or_else(|| {
                        let what = format!("{count} of {} bytes written", piece.len());
                        nonsense::<qga::guest_file_write>(what)
                    })?;
            }
        }
        self.ask(qga::guest_file_close { handle }).await?;
        Ok(())
    }

    /// Asks the guest to power off. There is no answer to wait for but the end of the VM.
    pub(crate) async fn power_off(&self) -> Result<(), GuestAgentError> {
        let mode = Some(qga::GuestShutdownMode::Powerdown);
        self.ask(qga::guest_shutdown { mode }).await?;
        Ok(())
    }
}

fn nonsense<C: Command>(what: impl Into<String>) -> GuestAgentError {
    GuestAgentError::Nonsense {
        command: C::NAME,
        what: what.into(),
    }
}

fn exit(code: Option<i64>, signal: Option<i64>) -> Result<GuestExit, GuestAgentError> {
    let byte = |number: i64| {
        u8::try_from(number).map_err(|_| {
            nonsense::<qga::guest_exec_status>(format!("an exit with {number}, which is no byte"))
        })
    };
    match (code, signal) {
        (Some(code), _) => byte(code).map(GuestExit::Code),
        (None, Some(signal)) => byte(signal).map(GuestExit::Signal),
        (None, None) => Err(nonsense::<qga::guest_exec_status>("an exit without a code")),
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

    use super::*;
    use crate::qmp::Qmp;

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

    /// An agent whose guest answers each question with what `answer` makes of its id, as often as asked.
    fn lying(answer: impl Fn(u64) -> String + Send + 'static) -> GuestAgent {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let (questions, mut answers) = theirs.into_split();
            let mut questions = tokio::io::BufReader::new(questions).lines();
            while let Ok(Some(question)) = questions.next_line().await {
                let question: serde_json::Value = serde_json::from_str(&question).unwrap();
                let line = answer(question["id"].as_u64().unwrap());
                if answers.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        GuestAgent::connect(ours)
    }

    #[tokio::test]
    async fn a_count_of_bytes_that_were_never_sent_is_nonsense() {
        for count in ["0", "-1", "1152921504606846976"] {
            let agent = lying(move |id| match id {
                1 => "{\"return\": 7, \"id\": 1}\n".to_owned(),
                id => format!(
                    "{{\"return\": {{\"count\": {count}, \"eof\": false}}, \"id\": {id}}}\n"
                ),
            });
            let error = agent.write_file("/f", b"bytes").await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "the guest agent answered nonsense to `guest-file-write`: {count} of 5 bytes written"
                )
            );
        }
    }

    #[tokio::test]
    async fn an_exit_out_of_range_is_nonsense() {
        let agent = lying(|id| {
            format!(
                "{{\"return\": {{\"exited\": true, \"exitcode\": 4294967296}}, \"id\": {id}}}\n"
            )
        });
        let closings = Qmp::open(UnixStream::pair().unwrap().0).stdout_closings();
        let error = agent.ended(GuestPid(1), closings).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the guest agent answered nonsense to `guest-exec-status`: an exit with 4294967296, which is no byte"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_never_answers_is_left_when_its_time_is_over() {
        let agent = lying(|_| String::new());
        let error = agent.start("/bin/true", Vec::new()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the guest agent did not answer `guest-exec` within 60 s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_answers_a_byte_at_a_time_has_no_more_time_than_others() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            while theirs.write_all(b"[").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let agent = GuestAgent::connect(ours);
        let error = agent.start("/bin/true", Vec::new()).await.unwrap_err();
        assert!(matches!(error, GuestAgentError::Silent { .. }), "{error}");
    }
}
