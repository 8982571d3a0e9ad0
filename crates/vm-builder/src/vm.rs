//! The life of one virtual machine.
//!
//! ```text
//! (not started) ──start──▶ Booting ──ready──▶ Ready ──power_off──▶ (done: disk flushed, QEMU gone)
//!                            │                  │ ▲
//!                            │                  └─┘ command, write_file
//!                            ▼                  ▼
//!                         VmError            VmError      (or dropped: QEMU killed, nothing left)
//! ```
//!
//! Each state is a type, so that no command can be sent to a guest that does not answer yet. Whatever is
//! waited for races the machine's death and a time-out.

use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_layer::{BuildError, BuildErrorKind, Phase};
use thiserror::Error;
use tokio_util::task::AbortOnDropHandle;

use crate::accelerator::Accelerator;
use crate::command::{Command, CommandError, Streams};
use crate::guest_agent::{GuestAgent, GuestAgentError, GuestExit};
use crate::guest_image::GuestImage;
use crate::machine::Machine;
use crate::network::{self, Allowlist, Upstream};
use crate::qemu::Qemu;
use crate::qmp::Qmp;
use crate::sockets::Sockets;
use crate::tail::Tail;

/// What a machine is started with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) qemu: &'a Path,
    pub(crate) accelerator: Accelerator,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) image: &'a GuestImage,
    /// The overlay that the guest writes to.
    pub(crate) disk: PathBuf,
    /// What the guest may reach; without it there is no network card.
    pub(crate) network: Option<(Allowlist, Upstream)>,
}

/// A machine whose guest agent has not answered yet.
pub(crate) struct Booting {
    running: Running,
    qmp: UnixStream,
    agent: UnixStream,
    streams: Streams,
}

/// A machine whose guest takes commands.
pub(crate) struct Ready {
    running: Running,
    qmp: Qmp,
    agent: GuestAgent,
    streams: Streams,
}

/// What went wrong with a machine, and in which phase.
#[derive(Debug, Error)]
pub(crate) enum VmError {
    #[error("start `{program}`")]
    Start { program: String, source: io::Error },
    #[error("the VM died in the {phase} phase")]
    Died { phase: Phase, output: String },
    #[error("the {phase} phase of the VM took longer than {} s", after.as_secs())]
    TimedOut {
        phase: Phase,
        after: Duration,
        output: String,
    },
    #[error("talk to the guest in the {phase} phase")]
    Agent {
        phase: Phase,
        source: GuestAgentError,
    },
    #[error("talk to QEMU or pass on the guest's output in the {phase} phase")]
    Io { phase: Phase, source: io::Error },
    #[error("the guest did not power off in good order")]
    NotPoweredOff { output: String },
}

impl Booting {
    /// Starts QEMU.
    pub(crate) fn start(start: Start<'_>) -> Result<Self, VmError> {
        let broken = |source| VmError::Io {
            phase: Phase::Boot,
            source,
        };
        let pairs = Sockets::make(start.network.is_some(), UnixStream::pair).map_err(broken)?;
        let machine = Machine {
            accelerator: start.accelerator,
            cpus: start.cpus,
            memory_mib: start.memory_mib,
            boot: start.image.boot.clone(),
            disk: start.disk,
            sockets: pairs.each().map(|(_, theirs)| theirs.as_raw_fd()),
        };
        let mut inherited = Vec::new();
        let ours = pairs.map(|(ours, theirs)| {
            inherited.push(OwnedFd::from(theirs));
            ours
        });
        let args = machine.args();
        tracing::debug!(qemu = %start.qemu.display(), ?args, "starting a VM");
        let qemu = Qemu::start(start.qemu, &args, inherited).map_err(|source| VmError::Start {
            program: start.qemu.display().to_string(),
            source,
        })?;
        let network = ours
            .network
            .zip(start.network)
            .map(|(frames, (allowlist, upstream))| {
                AbortOnDropHandle::new(tokio::spawn(serve_network(frames, allowlist, upstream)))
            });
        let console = Tail::of(in_tokio(ours.console).map_err(broken)?);
        Ok(Self {
            running: Running {
                qemu,
                console,
                _network: network,
            },
            qmp: ours.qmp,
            agent: ours.agent,
            streams: Streams {
                stdin: in_tokio(ours.stdin).map_err(broken)?,
                stdout: in_tokio(ours.stdout).map_err(broken)?,
                stderr: in_tokio(ours.stderr).map_err(broken)?,
            },
        })
    }

    /// Waits until the guest agent answers.
    pub(crate) async fn ready(self, time_out: Duration) -> Result<Ready, VmError> {
        let phase = Phase::Boot;
        let Self {
            running,
            qmp,
            agent,
            streams,
        } = self;
        let connected = async {
            let broken = |source| VmError::Io { phase, source };
            let qmp = Qmp::connect(in_tokio(qmp).map_err(broken)?)
                .await
                .map_err(broken)?;
            let agent = GuestAgent::connect(in_tokio(agent).map_err(broken)?);
            agent
                .answers()
                .await
                .map_err(|source| VmError::Agent { phase, source })?;
            Ok((qmp, agent))
        };
        let (qmp, agent) = running.unless_dead(phase, time_out, connected).await?;
        Ok(Ready {
            running,
            qmp,
            agent,
            streams,
        })
    }
}

impl Ready {
    /// Runs a command in the guest and passes its output on until it has ended. Without a time-out it may
    /// take for ever.
    pub(crate) async fn command(
        &mut self,
        phase: Phase,
        command: Command<'_>,
        time_out: Option<Duration>,
    ) -> Result<GuestExit, VmError> {
        let Self {
            running,
            agent,
            streams,
            ..
        } = self;
        let run = async {
            command
                .run(agent, streams)
                .await
                .map_err(|error| match error {
                    CommandError::Agent(source) => VmError::Agent { phase, source },
                    CommandError::Io(source) => VmError::Io { phase, source },
                })
        };
        running.unless_dead(phase, time_out, run).await
    }

    /// Whether the machine lives and its agent answers.
    pub(crate) async fn is_well(&self) -> bool {
        const SOON: Duration = Duration::from_secs(20);
        let phase = Phase::Install;
        let asked = async {
            let answered = self.agent.answers().await;
            answered.map_err(|source| VmError::Agent { phase, source })
        };
        self.running.unless_dead(phase, SOON, asked).await.is_ok()
    }

    /// QEMU's version.
    pub(crate) fn qemu_version(&self) -> &str {
        self.qmp.version()
    }

    /// Makes a file in the guest.
    pub(crate) async fn write_file(
        &self,
        phase: Phase,
        path: &str,
        bytes: &[u8],
        time_out: Duration,
    ) -> Result<(), VmError> {
        let write = async {
            let written = self.agent.write_file(path, bytes).await;
            written.map_err(|source| VmError::Agent { phase, source })
        };
        self.running.unless_dead(phase, time_out, write).await
    }

    /// Has the guest flush its disk and power off, and waits until QEMU has ended.
    pub(crate) async fn power_off(self, time_out: Duration) -> Result<(), VmError> {
        let Self {
            running,
            qmp,
            agent,
            ..
        } = self;
        let asked = async {
            // The agent need not live to answer.
            let _ = agent.power_off().await;
            std::future::pending().await
        };
        match running.unless_dead(Phase::ShutDown, time_out, asked).await {
            Ok(()) | Err(VmError::Died { .. }) => {}
            Err(error) => return Err(error),
        }
        if qmp.guest_powered_off().await {
            Ok(())
        } else {
            Err(VmError::NotPoweredOff {
                output: running.last_words(),
            })
        }
    }
}

/// What all states of a living machine have.
#[derive(Debug)]
struct Running {
    qemu: Qemu,
    console: Tail,
    _network: Option<AbortOnDropHandle<()>>,
}

impl Running {
    /// `work`, unless the machine dies or the time runs out before it is done.
    async fn unless_dead<T>(
        &self,
        phase: Phase,
        time_out: impl Into<Option<Duration>>,
        work: impl Future<Output = Result<T, VmError>>,
    ) -> Result<T, VmError> {
        let time_out = time_out.into();
        tokio::select! {
            // A dead machine breaks the channels too; its death is the better message.
            biased;
            status = self.qemu.exited() => {
                tracing::debug!(?status, %phase, "QEMU ended");
                Err(VmError::Died { phase, output: self.last_words() })
            }
            done = work => match done {
                Err(VmError::Agent { .. } | VmError::Io { .. }) if self.dies_soon().await => {
                    Err(VmError::Died { phase, output: self.last_words() })
                }
                done => done,
            },
            after = sleep_for(time_out) => {
                Err(VmError::TimedOut { phase, after, output: self.last_words() })
            }
        }
    }

    /// Whether a broken channel is the first sign of QEMU's end.
    async fn dies_soon(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(500), self.qemu.exited())
            .await
            .is_ok()
    }

    /// The last that QEMU and the guest's console said.
    fn last_words(&self) -> String {
        [self.qemu.stderr(), self.console.text()]
            .iter()
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Gives the time back when it is over. No time is for ever.
async fn sleep_for(time: Option<Duration>) -> Duration {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
    time.unwrap_or_default()
}

async fn serve_network(frames: UnixStream, allowlist: Allowlist, upstream: Upstream) {
    let served = match in_tokio(frames) {
        Ok(frames) => network::serve(frames, allowlist, upstream).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::warn!(%error, "the guest's network broke");
    }
}

fn in_tokio(socket: UnixStream) -> io::Result<tokio::net::UnixStream> {
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}

impl From<VmError> for BuildError {
    fn from(error: VmError) -> Self {
        let (kind, output) = match &error {
            VmError::Start { .. } => (BuildErrorKind::Host, None),
            VmError::Died { output, .. }
            | VmError::TimedOut { output, .. }
            | VmError::NotPoweredOff { output } => {
                (BuildErrorKind::Temporary, Some(output.clone()))
            }
            VmError::Agent { .. } | VmError::Io { .. } => (BuildErrorKind::Temporary, None),
        };
        let context = error.to_string();
        let error = match error {
            VmError::Start { source, .. } | VmError::Io { source, .. } => {
                Self::new(kind, context).with_source(source)
            }
            VmError::Agent { source, .. } => Self::new(kind, context).with_source(source),
            _ => Self::new(kind, context),
        };
        error.with_output(output.unwrap_or_default())
    }
}
