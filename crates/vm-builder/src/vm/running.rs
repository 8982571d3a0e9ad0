use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use cache_layer::Phase;
use rustix::process::Signal;
use tokio_util::task::AbortOnDropHandle;

use super::error::{VmError, VmFault};
use crate::deadline::Deadline;
use crate::network::Refused;
use crate::qemu::Qemu;
use crate::qmp::{MachineFault, Qmp, Shutdown};
use crate::tail::Tail;

/// What all states of a living machine have.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) qemu: Qemu,
    pub(super) qmp: Qmp,
    pub(super) console: Tail,
    /// What the commands of the install phase said last.
    pub(super) installer: Tail,
    pub(super) disk_limit_bytes: u64,
    pub(super) deadline: Option<Deadline>,
    /// What its guest asked the network for in vain.
    pub(super) refused: Refused,
    pub(super) _network: Option<AbortOnDropHandle<()>>,
}

/// A broken channel can be the first sign of QEMU's end, which is the better message, and comes at once.
const END_AFTER_A_BREAK: Duration = Duration::from_millis(500);

impl Running {
    /// `work`, unless the machine or its disk dies or the time runs out before it is done.
    pub(super) async fn unless_over<T>(
        &self,
        phase: Phase,
        time_out: Option<Duration>,
        work: impl Future<Output = Result<T, VmFault>>,
    ) -> Result<T, VmError> {
        let fault = tokio::select! {
            // A dead machine breaks the channels too, and so can a dead disk; the cause is the better message.
            biased;
            status = self.qemu.exited() => self.end(status).await,
            fault = self.qmp.fault() => self.fault(fault),
            // Before the work: it may have something to do whenever it is looked at.
            limit = passed(self.deadline) => VmFault::BuildTimedOut(limit),
            after = passed(time_out.map(Deadline::after)) => VmFault::TimedOut(after),
            done = work => match done {
                Ok(done) => return Ok(done),
                Err(fault) if fault.is_broken_channel() => {
                    match tokio::time::timeout(END_AFTER_A_BREAK, self.qemu.exited()).await {
                        Ok(status) => self.end(status).await,
                        Err(_) => fault,
                    }
                }
                Err(fault) => fault,
            },
        };
        Err(self.error(phase, fault))
    }

    /// The error of a fault, with what QEMU, the guest's console and the installer said last.
    pub(super) fn error(&self, phase: Phase, fault: VmFault) -> VmError {
        let said = [
            self.qemu.stderr(),
            self.console.text(),
            self.installer.text(),
        ];
        let said = said.iter().map(|text| text.trim());
        let output: Vec<_> = said.filter(|text| !text.is_empty()).collect();
        VmError {
            phase,
            fault,
            output: output.join("\n"),
        }
    }

    /// Why QEMU ended.
    async fn end(&self, status: Option<ExitStatus>) -> VmFault {
        let seen = self.qmp.last_seen().await;
        // What explains it may be the last that was said.
        self.qemu.last_stderr().await;
        self.console.ended().await;
        if let Some(fault) = seen.fault {
            return self.fault(fault);
        }
        let signal = status.and_then(|status| status.signal());
        if signal == Some(Signal::XFSZ.as_raw()) {
            return self.fault(MachineFault::DiskLimit);
        }
        // Else its guest has ended it, or somebody else.
        let gave_up = status.filter(|status| status.code().is_some() && !seen.has_greeted);
        if let Some(status) = gave_up {
            return VmFault::NotMade(status);
        }
        let how = match (seen.shutdown, status) {
            // QEMU is told to end where a guest would reboot, and a kernel that panics reboots.
            (Some(Shutdown::Rebooted), _) => "the guest's kernel panicked or rebooted".to_owned(),
            (Some(Shutdown::PoweredOff), _) => "the guest powered off".to_owned(),
            (_, Some(status)) => format!("QEMU ended with {status}"),
            (_, None) => "QEMU ended".to_owned(),
        };
        VmFault::Died { how }
    }

    fn fault(&self, fault: MachineFault) -> VmFault {
        match fault {
            MachineFault::DiskLimit => VmFault::DiskLimit(self.disk_limit_bytes),
            MachineFault::HostDiskFull => VmFault::HostDiskFull,
            MachineFault::Disk(reason) => VmFault::Disk(reason),
            MachineFault::Panicked => VmFault::Died {
                how: "the guest's kernel panicked".to_owned(),
            },
        }
    }
}

/// Waits for a deadline and says how long that was. Without one, for ever.
async fn passed(deadline: Option<Deadline>) -> Duration {
    match deadline {
        Some(deadline) => {
            deadline.passed().await;
            deadline.limit
        }
        None => std::future::pending().await,
    }
}
