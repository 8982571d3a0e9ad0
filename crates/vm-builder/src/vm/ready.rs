use std::time::Duration;

use cache_layer::Phase;

use super::error::{VmError, VmFault};
use super::running::Running;
use super::shutting_down::ShuttingDown;
use crate::command::{Command, Streams};
use crate::guest_agent::{GuestAgent, GuestExit};
use crate::network::Refused;

/// A machine whose guest takes commands.
pub(crate) struct Ready {
    pub(super) running: Running,
    pub(super) agent: GuestAgent,
    pub(super) streams: Streams,
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
        } = self;
        let Command {
            argv,
            env,
            input,
            output,
        } = command;
        let said = &running.installer;
        let mut pass_on = |stream, bytes: &[u8]| {
            // What a user's own command says is no part of an error message.
            if phase == Phase::Install {
                said.push(bytes);
            }
            output(stream, bytes)
        };
        let command = Command {
            argv,
            env,
            input: match input {
                Some(input) => Some(input),
                None => None,
            },
            output: &mut pass_on,
        };
        let closings = running.qmp.stdout_closings();
        let run = async { Ok::<_, VmFault>(command.run(agent, streams, closings).await?) };
        running.unless_over(phase, time_out, run).await
    }

    /// Whether the machine lives and its agent answers.
    pub(crate) async fn is_well(&self) -> bool {
        const SOON: Duration = Duration::from_secs(20);
        let asked = async { Ok::<_, VmFault>(self.agent.answers().await?) };
        let answered = self.running.unless_over(Phase::Install, Some(SOON), asked);
        answered.await.is_ok()
    }

    /// What the guest's console said last.
    pub(crate) fn console(&self) -> String {
        self.running.console.text()
    }

    /// What its guest asked the network for in vain.
    pub(crate) fn refused(&self) -> &Refused {
        &self.running.refused
    }

    /// QEMU's version: `7.2.22`.
    pub(crate) fn qemu_version(&self) -> String {
        self.running.qmp.version()
    }

    /// Makes a file in the guest.
    pub(crate) async fn write_file(
        &self,
        phase: Phase,
        path: &str,
        bytes: &[u8],
        time_out: Duration,
    ) -> Result<(), VmError> {
        let write = async { Ok::<_, VmFault>(self.agent.write_file(path, bytes).await?) };
        self.running.unless_over(phase, Some(time_out), write).await
    }

    /// Has the guest flush its disk and power off, and waits until QEMU has ended.
    pub(crate) async fn power_off(self, time_out: Duration) -> Result<(), VmError> {
        let Self { running, agent, .. } = self;
        ShuttingDown { running, agent }.done(time_out).await
    }
}
