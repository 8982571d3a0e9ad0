use std::time::Duration;

use cache_layer::Phase;

use super::error::{VmError, VmFault};
use super::running::Running;
use crate::agent_channel::ChannelError;
use crate::guest_agent::{GuestAgent, GuestAgentError};
use crate::qmp::Shutdown;

/// A machine whose guest is to flush its disk and leave.
pub(crate) struct ShuttingDown {
    pub(super) running: Running,
    pub(super) agent: GuestAgent,
}

impl ShuttingDown {
    /// Asks the guest, and waits until QEMU has ended. Then the disk is whole and nobody's.
    pub(super) async fn done(self, time_out: Duration) -> Result<(), VmError> {
        let Self { running, agent } = self;
        let asked = async {
            match agent.power_off().await {
                Err(refused @ GuestAgentError::Channel(ChannelError::Refused { .. })) => {
                    Err::<(), _>(VmFault::Agent(refused))
                }
                // The agent need not live to answer: what is waited for is QEMU's end.
                _ => std::future::pending().await,
            }
        };
        let phase = Phase::ShutDown;
        match running.unless_over(phase, Some(time_out), asked).await {
            Err(error) if matches!(error.fault, VmFault::Died { .. }) => {}
            ended => return ended,
        }
        match running.qmp.last_seen().await.shutdown {
            Some(Shutdown::PoweredOff) => Ok(()),
            _ => Err(running.error(phase, VmFault::NotPoweredOff)),
        }
    }
}
