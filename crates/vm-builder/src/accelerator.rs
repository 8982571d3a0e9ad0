//! Which accelerator really runs a guest here, found by running one.
//!
//! A host can offer a `/dev/kvm` that opens, makes a VM, even executes firmware, and then hangs in the
//! kernel's first second. So the proof is the image's own kernel: it is booted with each accelerator, on no
//! disk and with [`PROOF`] on its command line, on which its initial RAM disk powers off at once. The
//! first to power off is the one to use. A working KVM wins by far; one that does not work loses.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::guest_image::{Boot, GuestImage};
use crate::machine::{Args, machine_option};

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accelerator {
    /// The kernel's hypervisor: native speed.
    Kvm,
    /// QEMU's own translator: works everywhere, several times slower.
    Tcg,
}

/// An accelerator, and why it is not a better one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The best that works.
    pub accelerator: Accelerator,
    /// Why KVM is not used, when it is not.
    pub kvm_fault: Option<String>,
}

/// The word on the kernel's command line that makes the initial RAM disk of a base image power off.
pub const PROOF: &str = "snaptier.proof";

/// A guest that has not powered off by then with either accelerator will not.
const LONGEST_PROOF: Duration = Duration::from_secs(60);

impl Accelerator {
    /// Finds the best accelerator for `image` by having `qemu` boot it. Takes as long as the kernel does:
    /// less than half a second with KVM, a second or two without, nothing where there is no `/dev/kvm`.
    ///
    /// # Errors
    ///
    /// `qemu` cannot be started.
    pub async fn probe(qemu: &Path, image: &GuestImage) -> io::Result<Probed> {
        match std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
        {
            Ok(_) => race(Self::Kvm.proof(qemu, image), Self::Tcg.proof(qemu, image)).await,
            Err(error) => Ok(Probed::without_kvm(format!(
                "/dev/kvm cannot be opened: {error}"
            ))),
        }
    }

    /// Boots `image` to the point where it powers off by itself.
    async fn proof(self, qemu: &Path, image: &GuestImage) -> io::Result<Result<(), String>> {
        let mut command = Command::new(qemu);
        command
            .args(self.proof_args(image))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(match timeout(LONGEST_PROOF, command.output()).await {
            Ok(output) => {
                let output = output?;
                if output.status.success() {
                    Ok(())
                } else {
                    let stderr = String::from_utf8_lossy(&output.stderr);
                    let said = stderr.lines().map(str::trim).rfind(|line| !line.is_empty());
                    Err(said.unwrap_or("QEMU failed without a word").to_owned())
                }
            }
            Err(_) => Err("a guest hangs".to_owned()),
        })
    }

    fn proof_args(self, image: &GuestImage) -> Vec<OsString> {
        let mut boot = image.boot.clone();
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
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}

impl Probed {
    fn without_kvm(fault: String) -> Self {
        Self {
            accelerator: Accelerator::Tcg,
            kvm_fault: Some(fault),
        }
    }
}

/// The first proof to succeed decides; a KVM that fails outright leaves TCG without waiting for its proof.
async fn race(
    kvm: impl Future<Output = io::Result<Result<(), String>>>,
    tcg: impl Future<Output = io::Result<Result<(), String>>>,
) -> io::Result<Probed> {
    tokio::select! {
        biased;
        proved = kvm => Ok(match proved? {
            Ok(()) => Probed { accelerator: Accelerator::Kvm, kvm_fault: None },
            Err(fault) => Probed::without_kvm(fault),
        }),
        proved = tcg => {
            proved?.unwrap_or_else(|fault| tracing::warn!(fault, "the TCG proof failed"));
            Ok(Probed::without_kvm("a guest hangs with it, or runs slower than without".to_owned()))
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn kvm_is_used_only_when_it_boots_a_guest_before_tcg_does() {
        let probed = race(ready(Ok(Ok(()))), pending()).await.unwrap();
        assert_eq!(
            probed,
            Probed {
                accelerator: Accelerator::Kvm,
                kvm_fault: None
            }
        );

        let hangs = race(pending(), ready(Ok(Ok(())))).await.unwrap();
        assert_eq!(hangs.accelerator, Accelerator::Tcg);
        assert!(hangs.kvm_fault.is_some());

        let aborts = race(ready(Ok(Err("failed to set MSR".to_owned()))), pending())
            .await
            .unwrap();
        assert_eq!(aborts, Probed::without_kvm("failed to set MSR".to_owned()));
    }

    #[tokio::test]
    async fn a_qemu_that_cannot_be_started_is_an_error_and_not_a_verdict() {
        let missing = || async { Err(io::Error::from(io::ErrorKind::NotFound)) };
        race(missing(), missing()).await.unwrap_err();
    }
}
