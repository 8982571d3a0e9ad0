//! Whether a guest really runs at native speed, shown by running one.

use std::io;
use std::time::Duration;

use cache_layer::BuildError;
use snaptier::{Settings, guest_image};
use vm_builder::{Accelerator, AcceleratorFault, Probed, Vms};

use super::finding::Finding;
use super::images::Images;
use crate::cli::failure::chain;

/// What could be seen of the accelerators.
#[derive(Debug)]
enum Seen {
    /// A guest was run.
    Probed { probed: Probed, by: String },
    /// There was no image to run; why a hypervisor is out of the question all the same.
    NoImage(Option<AcceleratorFault>),
    /// No guest could be tried, for want of what another check is about.
    Untried(String),
    /// No guest can run.
    Unable(String),
}

/// A guest that has not shown by then what it runs with will not. An imported one boots to its agent for that.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) async fn probe(settings: &Settings, images: &Images) -> Finding {
    judge(&look(settings, images).await)
}

async fn look(settings: &Settings, images: &Images) -> Seen {
    let Some(image) = images.quickest() else {
        return Seen::NoImage(Accelerator::fault());
    };
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(error) => return Seen::Untried(format!("make a folder for it: {error}")),
    };
    let vms = Vms::new(settings.vm_host());
    let guest = guest_image(image);
    let probed = vms.probe(&guest, scratch.path());
    match tokio::time::timeout(LONGEST, probed).await {
        Ok(Ok(probed)) => Seen::Probed {
            probed,
            by: image.manifest().digest.short(),
        },
        // QEMU has a check of its own.
        Ok(Err(error)) if is_missing(&error) => Seen::Untried(chain(&error)),
        Ok(Err(error)) => Seen::Unable(chain(&error)),
        Err(_) => Seen::Untried(format!("no guest ran within {} s", LONGEST.as_secs())),
    }
}

fn is_missing(error: &BuildError) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &io::Error| cause.kind() == io::ErrorKind::NotFound)
}

fn judge(seen: &Seen) -> Finding {
    const CHECK: &str = "accelerator";
    match seen {
        Seen::Probed { probed, by } => match &probed.fault {
            None => Finding::ok(
                CHECK,
                format!("{}: the image {by} runs with it", probed.accelerator),
            ),
            Some(fault) => slow(CHECK, fault),
        },
        Seen::NoImage(Some(fault)) => slow(CHECK, fault),
        Seen::NoImage(None) => Finding::warning(
            CHECK,
            "there is no image yet whose guest could show whether the hypervisor works",
            "make one with `snaptier image build python`, and ask again",
        ),
        Seen::Unable(why) => Finding::failed(
            CHECK,
            format!("no guest runs: {why}"),
            "have QEMU start a machine as the user that it is to run as (`--qemu-user`), and ask again",
        ),
        Seen::Untried(why) => Finding::warning(
            CHECK,
            format!("not tried: {why}"),
            "see to QEMU first, and ask again",
        ),
    }
}

fn slow(check: &str, fault: &AcceleratorFault) -> Finding {
    let remedy = match fault {
        AcceleratorFault::Denied { .. } => {
            "add this user to the group that may open it, kvm as a rule"
        }
        AcceleratorFault::DeniedToQemu { .. } => {
            "let a group have it (`chgrp kvm /dev/kvm` and `chmod 660 /dev/kvm`), or, at your own risk, run QEMU as root \
             (`--qemu-user own`)"
        }
        AcceleratorFault::NoDevice { .. } => {
            "switch virtualization on in the firmware, or nested virtualization where this is a virtual machine itself"
        }
        _ => "use a host whose hypervisor lets guests run, if builds are too slow",
    };
    Finding::warning(
        check,
        format!("{}: {fault}", Accelerator::Tcg),
        format!("{remedy}; guests run several times slower without"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Status, assert_judged};
    use super::*;

    #[test]
    fn an_accelerator_is_well_only_when_a_guest_ran_with_it() {
        let probed = |accelerator, fault| Seen::Probed {
            probed: Probed { accelerator, fault },
            by: "472e2b56".to_owned(),
        };
        let (accelerator, device) = (Accelerator::Kvm, "/dev/kvm");
        let slow = |fault| probed(Accelerator::Tcg, Some(fault));
        for (seen, status, word) in [
            (
                probed(Accelerator::Kvm, None),
                Status::Ok,
                "kvm: the image 472e2b56",
            ),
            (probed(Accelerator::Hvf, None), Status::Ok, "hvf"),
            (
                slow(AcceleratorFault::RunsNoGuest {
                    accelerator,
                    said: "failed to set MSR".to_owned(),
                }),
                Status::Warning,
                "tcg: kvm runs no guest: failed to set MSR",
            ),
            (
                slow(AcceleratorFault::Denied { device }),
                Status::Warning,
                "add this user to the group",
            ),
            (
                slow(AcceleratorFault::DeniedToQemu {
                    accelerator,
                    uid: 5,
                }),
                Status::Warning,
                "--qemu-user own",
            ),
            (
                Seen::NoImage(Some(AcceleratorFault::NoDevice {
                    device,
                    reason: "No such file or directory (os error 2)".to_owned(),
                })),
                Status::Warning,
                "firmware",
            ),
            (Seen::NoImage(None), Status::Warning, "image build"),
            (
                Seen::Untried("no QEMU".to_owned()),
                Status::Warning,
                "not tried: no QEMU",
            ),
            (
                Seen::Unable("start it as user 60987".to_owned()),
                Status::Failed,
                "no guest runs: start it as",
            ),
        ] {
            assert_judged(&judge(&seen), status, word);
        }
    }
}
