use std::error::Error;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use cache_layer::{BuildError, BuildErrorKind, Phase};
use thiserror::Error;

use crate::command::CommandError;
use crate::guest_agent::GuestAgentError;

/// What went wrong with a machine, in which phase, and what was said last.
#[derive(Debug, Error)]
#[error("{phase} phase: {fault}")]
pub(crate) struct VmError {
    pub(super) phase: Phase,
    pub(super) fault: VmFault,
    /// The tails of QEMU's standard error, the guest's console and the installer's output.
    pub(super) output: String,
}

#[derive(Debug, Error)]
pub(crate) enum VmFault {
    #[error("the VM died: {how}")]
    Died { how: String },
    #[error("QEMU made no VM and ended with {0}: `snaptier doctor` says what this host lacks")]
    NotMade(ExitStatus),
    #[error("it took longer than {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    #[error(
        "the whole build took longer than {} s: allow more with `TimeOuts::build`, or ask for fewer packages at once",
        .0.as_secs_f64()
    )]
    BuildTimedOut(Duration),
    #[error(
        "the guest's disk grew past its limit of {} MiB: raise it (`VmHost::disk_limit_bytes`, `--vm-disk-limit`), or ask for fewer packages at once",
        .0 >> 20
    )]
    DiskLimit(u64),
    #[error("the host's disk is full: make room where the VM's disk lies")]
    HostDiskFull,
    #[error("the VM's disk failed: {0}")]
    Disk(String),
    #[error("talk to the guest")]
    Agent(#[from] GuestAgentError),
    #[error("talk to QEMU")]
    Io(#[from] io::Error),
    #[error("pass on what the guest's command wrote")]
    Output(#[source] io::Error),
    #[error("the guest did not power off in good order")]
    NotPoweredOff,
}

impl VmFault {
    /// Whether it may be no more than a sign of QEMU's end.
    pub(super) fn is_broken_channel(&self) -> bool {
        matches!(self, Self::Agent(_) | Self::Io(_))
    }

    fn kind(&self, phase: Phase) -> BuildErrorKind {
        match self {
            // The same packages would fill the same disk again.
            Self::DiskLimit(_) if phase != Phase::Run => BuildErrorKind::Packages,
            Self::DiskLimit(_)
            | Self::HostDiskFull
            | Self::Disk(_)
            | Self::NotMade(_)
            | Self::Output(_) => BuildErrorKind::Host,
            Self::Died { .. }
            | Self::TimedOut(_)
            | Self::BuildTimedOut(_)
            | Self::Agent(_)
            | Self::Io(_)
            | Self::NotPoweredOff => BuildErrorKind::Temporary,
        }
    }

    fn into_source(self) -> Option<Box<dyn Error + Send + Sync>> {
        match self {
            Self::Agent(source) => Some(source.into()),
            Self::Io(source) | Self::Output(source) => Some(source.into()),
            _ => None,
        }
    }
}

impl From<CommandError> for VmFault {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Agent(error) => error.into(),
            CommandError::Io(error) => error.into(),
            CommandError::Output(error) => Self::Output(error),
        }
    }
}

impl From<VmError> for BuildError {
    fn from(error: VmError) -> Self {
        let built =
            Self::new(error.fault.kind(error.phase), error.to_string()).with_output(error.output);
        match error.fault.into_source() {
            Some(source) => built.with_source(source),
            None => built,
        }
    }
}
