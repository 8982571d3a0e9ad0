//! A virtual machine as data, and QEMU's arguments as a pure function of it.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use serde_json::json;

use crate::accelerator::Accelerator;
use crate::guest_image::Boot;
use crate::network::GUEST_MAC;
use crate::sockets::Sockets;

/// What a virtual machine is made of.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) accelerator: Accelerator,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) boot: Boot,
    /// The qcow2 overlay that the guest writes to.
    pub(crate) disk: PathBuf,
    /// QEMU's ends of the sockets, by the numbers that it inherits.
    pub(crate) sockets: Sockets<RawFd>,
}

/// The guest agent's port, by QEMU's own convention.
const AGENT_PORT: &str = "org.qemu.guest_agent.0";
/// The ports that carry a command's standard streams.
pub(crate) const STDIN_PORT: &str = "snaptier.stdin";
pub(crate) const STDOUT_PORT: &str = "snaptier.stdout";
pub(crate) const STDERR_PORT: &str = "snaptier.stderr";

impl Machine {
    /// QEMU's arguments.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let mut args = Args::default();
        args.flags(["-nodefaults", "-no-user-config", "-no-reboot"]);
        args.option("-display", "none");
        args.option(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
        let accelerator = self.accelerator;
        args.option("-machine", machine_option(accelerator, &self.boot));
        args.option("-cpu", accelerator.cpu());
        args.option("-smp", self.cpus.to_string());
        args.option("-m", format!("{}M", self.memory_mib));
        args.boot(&self.boot);

        args.option("-blockdev", self.disk().to_string());
        args.option("-device", "virtio-blk-pci,drive=disk");
        args.option("-object", "rng-builtin,id=rng");
        args.option("-device", "virtio-rng-pci,rng=rng");

        let sockets = &self.sockets;
        args.chardev("qmp", sockets.qmp);
        args.option("-mon", "chardev=qmp,mode=control");
        args.chardev("console", sockets.console);
        args.option("-serial", "chardev:console");
        args.option("-device", "virtio-serial-pci");
        for (id, socket, name) in [
            ("agent", sockets.agent, AGENT_PORT),
            ("stdin", sockets.stdin, STDIN_PORT),
            ("stdout", sockets.stdout, STDOUT_PORT),
            ("stderr", sockets.stderr, STDERR_PORT),
        ] {
            args.chardev(id, socket);
            args.option(
                "-device",
                format!("virtserialport,chardev={id},name={name}"),
            );
        }
        if let Some(socket) = sockets.network {
            args.option(
                "-netdev",
                format!("stream,id=net,server=off,addr.type=fd,addr.str={socket}"),
            );
            args.option(
                "-device",
                format!("virtio-net-pci,netdev=net,mac={GUEST_MAC},romfile="),
            );
        }
        args.0
    }

    /// The disk as a block device. As JSON, no character of a path has a meaning to QEMU, and the format
    /// is said, not guessed.
    fn disk(&self) -> serde_json::Value {
        json!({
            "driver": "qcow2",
            "node-name": "disk",
            "discard": "unmap",
            "detect-zeroes": "unmap",
            "file": {
                "driver": "file",
                "filename": self.disk.to_string_lossy(),
                "discard": "unmap",
            },
            // The disk of a VM that dies is thrown away, and a finished one is synced when it is
            // published: the guest's flushes need not reach the host's disk.
            "cache": { "direct": false, "no-flush": true },
        })
    }
}

/// QEMU's machine type.
///
/// `microvm` has no firmware that finds a disk on the PCI bus; `q35` has a BIOS, which does.
///
/// Where QEMU loads the kernel, with KVM it is `microvm`, with the few legacy devices that a stock kernel needs to find the PCI bus: the
/// kernel is told the frequency of its clock. Without, it has to measure it, and on a busy host it fails to
/// with the one timer that a `microvm` has, and hangs; `q35` has two more.
pub(crate) fn machine_option(accelerator: Accelerator, boot: &Boot) -> String {
    let machine = match (accelerator, boot) {
        (Accelerator::Kvm, Boot::Kernel { .. }) => "microvm,rtc=on,pit=on,pic=on,acpi=on,pcie=on",
        _ => "q35",
    };
    format!("{machine},accel={accelerator}")
}

/// QEMU's arguments, one by one.
#[derive(Default)]
pub(crate) struct Args(pub(crate) Vec<OsString>);

impl Args {
    pub(crate) fn flags<const N: usize>(&mut self, flags: [&str; N]) {
        self.0.extend(flags.map(OsString::from));
    }

    pub(crate) fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.extend([OsString::from(name), value.into()]);
    }

    /// What QEMU loads; a machine that boots by its firmware is told nothing.
    pub(crate) fn boot(&mut self, boot: &Boot) {
        let Boot::Kernel {
            kernel,
            initrd,
            append,
        } = boot
        else {
            return;
        };
        self.option("-kernel", kernel);
        if let Some(initrd) = initrd {
            self.option("-initrd", initrd);
        }
        self.option("-append", append);
    }

    fn chardev(&mut self, id: &str, socket: RawFd) {
        self.option("-chardev", format!("socket,id={id},fd={socket}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            accelerator: Accelerator::Tcg,
            cpus: 2,
            memory_mib: 512,
            boot: Boot::Kernel {
                kernel: "/images/k,1".into(),
                initrd: Some("/images/i".into()),
                append: "console=ttyS0".into(),
            },
            disk: "/cache/a,b.qcow2".into(),
            sockets: Sockets {
                qmp: 3,
                console: 4,
                agent: 5,
                stdin: 6,
                stdout: 7,
                stderr: 8,
                network: None,
            },
        }
    }

    fn line(machine: &Machine) -> String {
        let args = machine.args();
        args.iter()
            .map(|arg| arg.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn qemu_may_not_spawn_and_has_no_device_it_was_not_given() {
        let line = line(&machine());
        assert!(
            line.starts_with("-nodefaults -no-user-config -no-reboot "),
            "{line}"
        );
        assert!(line.contains(
            "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
        ));
    }

    #[test]
    fn a_machine_without_a_network_socket_has_no_network_card() {
        assert!(!line(&machine()).contains("net"), "{}", line(&machine()));
        let mut connected = machine();
        connected.sockets.network = Some(9);
        let line = line(&connected);
        assert!(
            line.contains("-netdev stream,id=net,server=off,addr.type=fd,addr.str=9 "),
            "{line}"
        );
        assert_eq!(line.matches("-netdev").count(), 1);
    }

    #[test]
    fn a_comma_in_the_disks_path_stays_part_of_the_path() {
        let disk = machine().disk();
        assert_eq!(disk["file"]["filename"], "/cache/a,b.qcow2");
        assert_eq!(disk["driver"], "qcow2");
    }

    #[test]
    fn a_machine_boots_the_kernel_that_it_is_given_and_by_its_firmware_without_one() {
        let kernel = |initrd: Option<&str>| Boot::Kernel {
            kernel: "/k".into(),
            initrd: initrd.map(Into::into),
            append: "quiet panic=-1".into(),
        };
        for (accelerator, boot, machine_type, loaded) in [
            (
                Accelerator::Kvm,
                kernel(Some("/i")),
                "microvm,",
                Some("-kernel /k -initrd /i -append quiet panic=-1 "),
            ),
            (
                Accelerator::Tcg,
                kernel(None),
                "q35,",
                Some("-kernel /k -append quiet panic=-1 "),
            ),
            (Accelerator::Kvm, Boot::Firmware, "q35,", None),
            (Accelerator::Tcg, Boot::Firmware, "q35,", None),
        ] {
            let line = line(&Machine {
                accelerator,
                boot,
                ..machine()
            });
            assert!(line.contains(&format!("-machine {machine_type}")), "{line}");
            match loaded {
                Some(loaded) => assert!(line.contains(loaded), "{line}"),
                None => assert!(
                    !line.contains("-kernel") && !line.contains("-append"),
                    "{line}"
                ),
            }
        }
    }

    #[test]
    fn the_accelerator_brings_its_own_processor() {
        for (accelerator, expected) in [
            (Accelerator::Tcg, "accel=tcg -cpu max -smp 2 -m 512M"),
            (Accelerator::Kvm, "accel=kvm -cpu host -smp 2 -m 512M"),
        ] {
            let line = line(&Machine {
                accelerator,
                ..machine()
            });
            assert!(line.contains(expected), "{line}");
        }
    }
}
