use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cache_layer::{BuildError, BuildErrorKind, Phase};
use tokio_util::task::AbortOnDropHandle;

use super::error::{VmError, VmFault};
use super::ready::Ready;
use super::running::Running;
use crate::accelerator::Accelerator;
use crate::command::Streams;
use crate::confinement::Confinement;
use crate::deadline::Deadline;
use crate::disk_chain::DiskChain;
use crate::guest_agent::GuestAgent;
use crate::guest_image::GuestImage;
use crate::handover::{Handover, HandoverError};
use crate::host::{VmHost, cannot_start_as};
use crate::machine::{Machine, MachineError, Parts};
use crate::network::{self, Allowlist, Refused, Upstream};
use crate::qemu::Qemu;
use crate::qmp::Qmp;
use crate::sockets::Sockets;
use crate::tail::Tail;

/// What a machine is started with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) host: &'a VmHost,
    pub(crate) accelerator: Accelerator,
    pub(crate) image: &'a GuestImage,
    pub(crate) disk: DiskChain,
    /// What the guest may reach; without it there is no network card.
    pub(crate) network: Option<(Allowlist, Upstream)>,
    /// When the machine has to be gone; without it, it may live as long as it likes.
    pub(crate) deadline: Option<Deadline>,
}

/// A machine whose guest agent has not answered yet.
pub(crate) struct Booting {
    running: Running,
    agent: UnixStream,
    streams: Streams,
}

impl Booting {
    /// Starts QEMU.
    pub(crate) fn start(start: Start<'_>) -> Result<Self, BuildError> {
        let host = start.host;
        let pairs = Sockets::make(start.network.is_some(), UnixStream::pair).map_err(no_channel)?;
        let confinement = Confinement::of(host);
        let user = confinement.user;
        let mut handover = Handover::to(user);
        let pairs = pairs.map(|(ours, theirs)| (ours, handover.inherit(theirs)));
        let sockets = pairs.each().map(|(_, number)| *number);
        let ours = pairs.map(|(ours, _)| ours);
        let machine = Machine::of(Parts {
            accelerator: start.accelerator,
            cpus: host.cpus,
            memory_mib: host.memory_mib,
            boot: handover.boot(&start.image.boot)?,
            disk: handover.disk(&start.disk)?,
            sockets,
        })?;
        let args = machine.args();
        tracing::debug!(qemu = %host.qemu.display(), ?args, disk = ?start.disk, "starting a VM");
        let qemu = Qemu::start(&host.qemu, &args, handover.inherited(), confinement)
            .map_err(|error| cannot_start_as(user, &host.qemu, error))?;

        let refused = Refused::default();
        let network = match (ours.network, start.network) {
            (Some(frames), Some((allowlist, upstream))) => {
                let serving =
                    serve_network(in_tokio(frames)?, allowlist, upstream, refused.clone());
                Some(AbortOnDropHandle::new(tokio::spawn(serving)))
            }
            _ => None,
        };
        Ok(Self {
            running: Running {
                qemu,
                qmp: Qmp::open(in_tokio(ours.qmp)?),
                console: Tail::of(in_tokio(ours.console)?),
                installer: Tail::empty(),
                disk_limit_bytes: host.disk_limit_bytes,
                deadline: start.deadline,
                refused,
                _network: network,
            },
            agent: ours.agent,
            streams: Streams {
                stdin: in_tokio(ours.stdin)?,
                stdout: in_tokio(ours.stdout)?,
                stderr: in_tokio(ours.stderr)?,
            },
        })
    }

    /// Waits until the guest agent answers.
    pub(crate) async fn ready(self, time_out: Duration) -> Result<Ready, VmError> {
        let Self {
            running,
            agent,
            streams,
        } = self;
        let answered = async {
            running.qmp.greeted().await?;
            agent.set_nonblocking(true)?;
            let agent = GuestAgent::connect(tokio::net::UnixStream::from_std(agent)?);
            agent.answers().await?;
            Ok::<_, VmFault>(agent)
        };
        let agent = running
            .unless_over(Phase::Boot, Some(time_out), answered)
            .await?;
        Ok(Ready {
            running,
            agent,
            streams,
        })
    }
}

async fn serve_network(
    frames: tokio::net::UnixStream,
    allowlist: Allowlist,
    upstream: Upstream,
    refused: Refused,
) {
    if let Err(error) = network::serve(frames, allowlist, upstream, refused).await {
        tracing::warn!(%error, "the guest's network broke");
    }
}

fn in_tokio(socket: UnixStream) -> Result<tokio::net::UnixStream, BuildError> {
    socket
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixStream::from_std(socket))
        .map_err(no_channel)
}

fn no_channel(error: io::Error) -> BuildError {
    BuildError::new(BuildErrorKind::Host, "make a channel to a VM").with_source(error)
}

impl From<HandoverError> for BuildError {
    fn from(error: HandoverError) -> Self {
        Self::new(BuildErrorKind::Host, error.to_string()).with_source(error)
    }
}

impl From<MachineError> for BuildError {
    fn from(error: MachineError) -> Self {
        Self::new(BuildErrorKind::Host, error.to_string())
    }
}
