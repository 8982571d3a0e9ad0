use thiserror::Error;

use super::Accelerator;
use crate::qemu_user::Ids;

/// Why guests run without a hypervisor, told apart by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcceleratorFault {
    /// No hypervisor of this operating system is known.
    #[error("no hypervisor of {os} is known here")]
    NoneKnown {
        /// In the words of [`std::env::consts::OS`].
        os: &'static str,
    },
    /// Its device is not there, or does not work.
    #[error("{device} cannot be opened: {reason}")]
    NoDevice {
        /// The path.
        device: &'static str,
        /// The system's words.
        reason: String,
    },
    /// This process may not open its device.
    #[error("{device} cannot be opened: permission denied")]
    Denied {
        /// The path.
        device: &'static str,
    },
    /// This process may, but not the user as whom QEMU runs when root starts it.
    #[error("{accelerator} is refused to user {uid}, as whom QEMU runs")]
    DeniedToQemu {
        /// The hypervisor.
        accelerator: Accelerator,
        /// The user.
        uid: u32,
    },
    /// It is there, and fails.
    #[error("{accelerator} runs no guest: {said}")]
    RunsNoGuest {
        /// The hypervisor.
        accelerator: Accelerator,
        /// What QEMU or the guest said last.
        said: String,
    },
    /// TCG was the first to run a guest.
    #[error("with {accelerator} a guest hangs, or runs slower than without")]
    NoFaster {
        /// The hypervisor.
        accelerator: Accelerator,
    },
}

impl AcceleratorFault {
    /// That of a QEMU that said this, run as `user` if not as ourselves. We could open the device before.
    pub(super) fn of_a_failed_guest(
        accelerator: Accelerator,
        user: Option<Ids>,
        said: String,
    ) -> Self {
        // QEMU's `failed to initialize kvm: Permission denied`.
        let is_denied = said.ends_with(&format!("{accelerator}: Permission denied"));
        match user {
            Some(Ids { uid, .. }) if is_denied => Self::DeniedToQemu { accelerator, uid },
            _ => Self::RunsNoGuest { accelerator, said },
        }
    }
}
