//! A command in the guest, its standard streams carried live over virtio-serial ports.
//!
//! The agent can capture output too, but only hands it over at the end, and only so much of it.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::guest_agent::{GuestAgent, GuestAgentError, GuestExit};
use crate::machine::{STDERR_PORT, STDIN_PORT, STDOUT_PORT};
use crate::qmp::StdoutClosings;

/// Our ends of the ports that carry the standard streams.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: UnixStream,
    pub(crate) stdout: UnixStream,
    pub(crate) stderr: UnixStream,
}

/// Which of its streams a command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes a command's output as it comes. While it does not return, the command waits.
pub type OutputSink<'a> = dyn FnMut(OutputStream, &[u8]) -> io::Result<()> + Send + 'a;

/// What a command reads.
pub type Input<'a> = dyn AsyncRead + Send + Unpin + 'a;

/// A command to run in a guest.
pub(crate) struct Command<'a> {
    /// The program, found on the guest's `PATH`, and its arguments.
    pub(crate) argv: Vec<String>,
    /// Variables added to the guest's own environment.
    pub(crate) env: Vec<(&'static str, String)>,
    /// Standard input; without it the command reads an end of file.
    pub(crate) input: Option<&'a mut Input<'a>>,
    /// Where its output goes.
    pub(crate) output: &'a mut OutputSink<'a>,
}

#[derive(Debug, Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Agent(#[from] GuestAgentError),
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The caller did not take the output.
    #[error(transparent)]
    Output(io::Error),
}

impl Command<'_> {
    /// Runs the command to its end. What it wrote before it ended has been passed on by then.
    pub(crate) async fn run(
        self,
        agent: &GuestAgent,
        streams: &mut Streams,
        closings: StdoutClosings,
    ) -> Result<GuestExit, CommandError> {
        let pid = agent
            .start(
                "/bin/sh",
                shell(
                    Path::new(PORTS),
                    &self.argv,
                    &self.env,
                    self.input.is_some(),
                ),
            )
            .await?;
        let Self { input, output, .. } = self;
        let Streams {
            stdin,
            stdout,
            stderr,
        } = streams;
        let ended = agent.ended(pid, closings);
        let fed = feed(input, stdin);
        tokio::pin!(ended, fed);
        let mut is_fed = false;
        let mut pass_on =
            |stream, bytes: &[u8]| output(stream, bytes).map_err(CommandError::Output);
        let (mut out, mut err) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let exit = loop {
            tokio::select! {
                exit = &mut ended => break exit?,
                read = stdout.read(&mut out) => pass_on(OutputStream::Stdout, &out[..some(read)?])?,
                read = stderr.read(&mut err) => pass_on(OutputStream::Stderr, &err[..some(read)?])?,
                // A command need not read its input, so failing to feed it is no failure.
                _ = &mut fed, if !is_fed => is_fed = true,
            }
        };
        // The guest's writes have reached these sockets before its command could end.
        drain(stdout, &mut out, |bytes| {
            pass_on(OutputStream::Stdout, bytes)
        })?;
        drain(stderr, &mut err, |bytes| {
            pass_on(OutputStream::Stderr, bytes)
        })?;
        Ok(exit)
    }
}

/// Where a guest's system puts the ports, each under its name.
const PORTS: &str = "/dev/virtio-ports";

/// The arguments of the guest's shell that give a command its streams, its variables and its home.
fn shell(ports: &Path, argv: &[String], env: &[(&str, String)], has_input: bool) -> Vec<String> {
    let port = |name| ports.join(name).display().to_string();
    let stdin = if has_input {
        port(STDIN_PORT)
    } else {
        "/dev/null".to_owned()
    };
    // The shell's own means throughout: an emulated guest takes a twentieth of a second to start one more program.
    let script = format!(
        r#"cd "${{HOME:-/}}"; exec <{stdin} >{} 2>{}; while [ "$1" ]; do export "$1"; shift; done; shift; exec "$@""#,
        port(STDOUT_PORT),
        port(STDERR_PORT)
    );
    let variables = env.iter().map(|(name, value)| format!("{name}={value}"));
    ["-c".to_owned(), script, "sh".to_owned()]
        .into_iter()
        .chain(variables)
        .chain([String::new()])
        .chain(argv.iter().cloned())
        .collect()
}

/// Copies `input` to the port and then lets the guest see its end.
async fn feed(input: Option<&mut Input<'_>>, stdin: &mut UnixStream) -> io::Result<()> {
    if let Some(input) = input {
        tokio::io::copy(input, stdin).await?;
        stdin.shutdown().await?;
    }
    Ok(())
}

/// The bytes that were read; none means that QEMU is gone.
fn some(read: io::Result<usize>) -> io::Result<usize> {
    match read? {
        0 => Err(io::ErrorKind::BrokenPipe.into()),
        read => Ok(read),
    }
}

/// More than a socket holds. What comes after as much is from somebody who outlived the command, and may
/// never end.
const MOST_LEFT: usize = 4 << 20;

/// Passes on what is there already. Asks the socket itself: what tokio knows of it may be older.
fn drain(
    stream: &UnixStream,
    buffer: &mut [u8],
    mut pass_on: impl FnMut(&[u8]) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut left = 0;
    while left < MOST_LEFT {
        match rustix::io::read(stream, &mut *buffer) {
            Ok(0) | Err(Errno::WOULDBLOCK) => break,
            Ok(read) => {
                left += read;
                pass_on(&buffer[..read])?;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_variables_reach_the_command_unread_by_the_shell() {
        let ports = tempfile::tempdir().unwrap();
        let run = |argv: &[&str], env: &[(&str, String)]| {
            let argv: Vec<_> = argv.iter().map(|&word| word.to_owned()).collect();
            let args = shell(ports.path(), &argv, env, false);
            let status = std::process::Command::new("/bin/sh").args(args).status();
            let said = |port| std::fs::read_to_string(ports.path().join(port)).unwrap();
            (status.unwrap().code(), said(STDOUT_PORT), said(STDERR_PORT))
        };
        let env = [("A", "x  y'\"$HOME".to_owned()), ("B", String::new())];
        let (code, out, err) = run(&["printf", "%s|", "$HOME; `reboot`", "", "-n"], &env);
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (Some(0), "$HOME; `reboot`||-n|", "")
        );
        let script = "cat; printf '%s|' \"$A\" \"${B-none}\" >&2; exit 3";
        let (code, out, err) = run(&["sh", "-c", script], &env);
        assert_eq!(
            (code, out.as_str(), err.as_str()),
            (Some(3), "", "x  y'\"$HOME||")
        );
        let (code, _, err) = run(&["no-such-program"], &[]);
        assert_eq!(code, Some(127));
        assert!(err.contains("no-such-program"), "{err}");
    }

    #[tokio::test]
    async fn a_writer_that_outlives_its_command_and_never_stops_is_left() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let refill = || while rustix::io::write(&theirs, &[b'x'; 16 << 10]).is_ok() {};
        refill();
        let (mut passed, mut buffer) = (0, vec![0; 64 << 10]);
        drain(&ours, &mut buffer, |bytes| {
            passed += bytes.len();
            assert!(passed < 2 * MOST_LEFT, "it goes on for ever");
            refill();
            Ok(())
        })
        .unwrap();
        assert!(passed >= MOST_LEFT, "{passed}");
    }
}
