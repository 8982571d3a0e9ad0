//! Which accelerator really runs a guest here, found by running one.
//!
//! A host can offer a `/dev/kvm` that opens, makes a VM, even executes firmware, and then hangs in the
//! kernel's first second. So the proof is a system that really starts: the image is booted with the host's
//! hypervisor and with TCG at the same time, and the first to get there is the one to use. A hypervisor that
//! works wins by far; one that does not work loses.
//!
//! An image that was made here is there when its kernel runs: it is booted on no disk and with [`PROOF`] on the
//! command line, on which its initial RAM disk powers off at once. Any other image knows nothing of that, and
//! is there when its guest agent answers.

mod fault;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::time::Duration;

use cache_layer::BuildError;
use tokio::time::timeout;

use crate::confinement::Confinement;
use crate::guest_image::{Boot, GuestImage};
use crate::handover::Handover;
use crate::host::{VmHost, cannot_start_as};
use crate::machine::{Args, machine_option};
use crate::qemu::Qemu;
use crate::qemu_user::Ids;

pub use fault::AcceleratorFault;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accelerator {
    /// Linux's hypervisor: native speed.
    Kvm,
    /// The hypervisor of macOS: native speed.
    Hvf,
    /// QEMU's own translator: works everywhere, several times slower.
    Tcg,
}

/// An accelerator, and why it is not a better one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The best that works.
    pub accelerator: Accelerator,
    /// Why it is TCG, when it is.
    pub fault: Option<AcceleratorFault>,
}

/// The word on the kernel's command line that makes the initial RAM disk of a base image power off.
pub const PROOF: &str = "snaptier.proof";

/// A guest that has not powered off by then with either accelerator will not.
const LONGEST_PROOF: Duration = Duration::from_secs(60);

/// Whether a guest ran; why not, if it did not. An error says nothing about the accelerator.
pub(crate) type Proof = Result<Result<(), String>, BuildError>;

/// An operating system's own accelerator.
#[derive(Debug, PartialEq, Eq)]
struct Hypervisor {
    accelerator: Accelerator,
    /// The device that whoever uses it has to be allowed to open.
    device: Option<&'static str>,
}

impl Hypervisor {
    /// That of `os`, in the words of `std::env::consts::OS`.
    fn of(os: &str) -> Option<Self> {
        let (accelerator, device) = match os {
            "linux" => (Accelerator::Kvm, Some("/dev/kvm")),
            "macos" => (Accelerator::Hvf, None),
            _ => return None,
        };
        Some(Self {
            accelerator,
            device,
        })
    }

    /// The accelerator, if this process may use it; else why not.
    fn open(self) -> Result<Accelerator, AcceleratorFault> {
        if let Some(device) = self.device {
            let opened = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(device);
            opened.map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => AcceleratorFault::Denied { device },
                _ => AcceleratorFault::NoDevice {
                    device,
                    reason: error.to_string(),
                },
            })?;
        }
        Ok(self.accelerator)
    }
}

impl Accelerator {
    /// Why this host's own hypervisor is out of the question, as far as that can be seen without a guest;
    /// `None` if only a guest can tell.
    #[must_use]
    pub fn fault() -> Option<AcceleratorFault> {
        candidate().err()
    }

    /// Boots `image` to the point where it powers off by itself. Held as any other machine, and killed when the future
    /// is dropped.
    pub(crate) async fn proof(self, host: &VmHost, image: &GuestImage) -> Proof {
        let confinement = Confinement::of(host);
        let mut handover = Handover::to(confinement.user);
        let boot = handover.boot(&image.boot).map_err(BuildError::from)?;
        let args = self.proof_args(boot);
        let qemu = Qemu::start(&host.qemu, &args, handover.inherited(), confinement);
        let qemu =
            qemu.map_err(|error| cannot_start_as(host.user.to_become(), &host.qemu, error))?;
        Ok(match timeout(LONGEST_PROOF, qemu.exited()).await {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(_) => {
                let stderr = qemu.last_stderr().await;
                let said = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
                Err(said.unwrap_or("QEMU failed without a word").to_owned())
            }
            Err(_) => Err("a guest hangs".to_owned()),
        })
    }

    fn proof_args(self, mut boot: Boot) -> Vec<OsString> {
        if let Boot::Kernel { append, .. } = &mut boot {
            append.push(' ');
            append.push_str(PROOF);
        }
        let mut args = Args::default();
        args.flags(["-nodefaults", "-no-user-config", "-no-reboot"]);
        args.option("-display", "none");
        args.option("-m", "128M");
        args.option("-cpu", self.cpu());
        args.option("-machine", machine_option(self, &boot));
        args.boot(&boot);
        args.0
    }

    /// QEMU's name for the processor model to go with it.
    pub(crate) fn cpu(self) -> &'static str {
        match self {
            Self::Kvm | Self::Hvf => "host",
            Self::Tcg => "max",
        }
    }
}

impl Probed {
    pub(crate) fn without(fault: AcceleratorFault) -> Self {
        Self {
            accelerator: Accelerator::Tcg,
            fault: Some(fault),
        }
    }
}

/// This host's own hypervisor, if there is one and this process may use it; else why not.
pub(crate) fn candidate() -> Result<Accelerator, AcceleratorFault> {
    let os = std::env::consts::OS;
    match Hypervisor::of(os) {
        Some(hypervisor) => hypervisor.open(),
        None => Err(AcceleratorFault::NoneKnown { os }),
    }
}

/// The first proof to succeed decides; a hypervisor that fails outright leaves TCG without waiting for its proof.
/// `user` is who QEMU becomes, if that is another.
pub(crate) async fn race(
    candidate: Accelerator,
    user: Option<Ids>,
    proof: impl Future<Output = Proof>,
    tcg: impl Future<Output = Proof>,
) -> Result<Probed, BuildError> {
    tokio::pin!(proof);
    let proved = tokio::select! {
        biased;
        proved = &mut proof => proved,
        proved = tcg => match proved? {
            Ok(()) => {
                let fault = AcceleratorFault::NoFaster { accelerator: candidate };
                return Ok(Probed::without(fault));
            }
            // Then it is no measure of the other.
            Err(fault) => {
                tracing::warn!(fault, "the TCG proof failed");
                proof.await
            }
        },
    };
    Ok(match proved? {
        Ok(()) => Probed {
            accelerator: candidate,
            fault: None,
        },
        Err(said) => Probed::without(AcceleratorFault::of_a_failed_guest(candidate, user, said)),
    })
}

/// The last that a guest or QEMU said, else what went wrong.
pub(crate) fn last_words(error: &BuildError) -> String {
    let said = error.output().into_iter().flat_map(str::lines);
    let last = said.map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(|| error.to_string(), str::to_owned)
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Tcg => "tcg",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use cache_layer::BuildErrorKind;

    use super::*;

    #[test]
    fn each_system_has_its_own_hypervisor_or_none() {
        for (os, expected) in [
            ("linux", Some((Accelerator::Kvm, Some("/dev/kvm")))),
            ("macos", Some((Accelerator::Hvf, None))),
            ("freebsd", None),
        ] {
            let expected = expected.map(|(accelerator, device)| Hypervisor {
                accelerator,
                device,
            });
            assert_eq!(Hypervisor::of(os), expected, "{os}");
        }
    }

    #[test]
    fn a_hypervisor_whose_device_cannot_be_opened_is_out_of_the_question() {
        let hypervisor = |device| Hypervisor {
            accelerator: Accelerator::Kvm,
            device,
        };
        let device = "/dev/no-such-device";
        let reason = "No such file or directory (os error 2)".to_owned();
        assert_eq!(
            hypervisor(Some(device)).open(),
            Err(AcceleratorFault::NoDevice { device, reason })
        );
        assert_eq!(hypervisor(Some("/dev/null")).open(), Ok(Accelerator::Kvm));
        assert_eq!(hypervisor(None).open(), Ok(Accelerator::Kvm));
    }

    #[tokio::test]
    async fn a_hypervisor_is_used_only_when_it_boots_a_guest_before_tcg_does() {
        for candidate in [Accelerator::Kvm, Accelerator::Hvf] {
            let probed = race(candidate, None, ready(Ok(Ok(()))), pending());
            let probed = probed.await.unwrap();
            let works = Probed {
                accelerator: candidate,
                fault: None,
            };
            assert_eq!(probed, works);

            let slow = async {
                tokio::task::yield_now().await;
                Ok(Ok(()))
            };
            let no_tcg = race(candidate, None, slow, ready(Ok(Err("invalid".to_owned()))));
            let probed = no_tcg.await.unwrap();
            assert_eq!(probed, works, "TCG failed, which says nothing of the other");

            let hangs = race(candidate, None, pending(), ready(Ok(Ok(()))));
            let fault = AcceleratorFault::NoFaster {
                accelerator: candidate,
            };
            assert_eq!(hangs.await.unwrap(), Probed::without(fault));

            let said = "failed to set MSR".to_owned();
            let aborts = race(candidate, None, ready(Ok(Err(said.clone()))), pending());
            let fault = AcceleratorFault::RunsNoGuest {
                accelerator: candidate,
                said,
            };
            assert_eq!(aborts.await.unwrap(), Probed::without(fault));
        }
    }

    #[tokio::test]
    async fn a_qemu_that_cannot_be_started_is_an_error_and_not_a_verdict() {
        let missing = || async { Err(BuildError::new(BuildErrorKind::Host, "start it")) };
        race(Accelerator::Kvm, None, missing(), missing())
            .await
            .unwrap_err();
    }

    #[tokio::test]
    async fn a_refusal_is_of_qemus_user_where_that_is_another_than_we_are() {
        let said = "failed to initialize kvm: Permission denied".to_owned();
        let accelerator = Accelerator::Kvm;
        let user = Some(Ids { uid: 5, gid: 6 });
        for (user, fault) in [
            (
                user,
                AcceleratorFault::DeniedToQemu {
                    accelerator,
                    uid: 5,
                },
            ),
            (
                None,
                AcceleratorFault::RunsNoGuest {
                    accelerator,
                    said: said.clone(),
                },
            ),
        ] {
            let refused = race(accelerator, user, ready(Ok(Err(said.clone()))), pending());
            assert_eq!(refused.await.unwrap(), Probed::without(fault));
        }
    }
}
