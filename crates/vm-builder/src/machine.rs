//! A virtual machine as data, and QEMU's arguments as a pure function of it.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;

use cache_key::DiskFormat;
use serde_json::{Value, json};
use thiserror::Error;

use crate::accelerator::Accelerator;
use crate::guest_image::Boot;
use crate::network::GUEST_MAC;
use crate::sockets::Sockets;

/// What a virtual machine is to be made of. Every file and socket is one that QEMU inherits.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) accelerator: Accelerator,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) boot: Boot,
    /// The qcow2 overlay that the guest writes to, then what lies behind it, nearest first.
    pub(crate) disk: Vec<DiskFile>,
    /// QEMU's ends of the sockets, by the numbers that it inherits.
    pub(crate) sockets: Sockets<RawFd>,
}

/// A file of the guest's disk, by the number that QEMU inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskFile {
    pub(crate) fd: RawFd,
    pub(crate) format: DiskFormat,
}

/// A machine that QEMU can make: one that exists is valid.
#[derive(Debug, Clone)]
pub(crate) struct Machine(Parts);

/// Why there is no such machine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum MachineError {
    #[error("give a VM {found} {what}: it takes between {} and {}", bounds.start(), bounds.end())]
    OutOfBounds {
        what: &'static str,
        found: u32,
        bounds: RangeInclusive<u32>,
    },
    #[error("give a kernel this command line: {0}")]
    CommandLine(&'static str),
    #[error("give a VM this disk: {0}")]
    Disk(&'static str),
}

/// As many as every machine type that is used here takes.
const CPUS: RangeInclusive<u32> = 1..=255;
/// From what a kernel, an agent and an installer need, to what no host has by mistake.
const MEMORY_MIB: RangeInclusive<u32> = 256..=1 << 20;
/// What an x86 kernel reads of its command line (`COMMAND_LINE_SIZE`, without the final NUL).
const LONGEST_COMMAND_LINE: usize = 2047;

/// The guest agent's port, by QEMU's own convention.
const AGENT_PORT: &str = "org.qemu.guest_agent.0";
/// The ports that carry a command's standard streams.
pub(crate) const STDIN_PORT: &str = "snaptier.stdin";
pub(crate) const STDOUT_PORT: &str = "snaptier.stdout";
pub(crate) const STDERR_PORT: &str = "snaptier.stderr";
/// QEMU's own name for the device that is [`STDOUT_PORT`].
pub(crate) const STDOUT: &str = "stdout";

impl Machine {
    /// The machine of these parts.
    pub(crate) fn of(parts: Parts) -> Result<Self, MachineError> {
        within("processors", parts.cpus, CPUS)?;
        within("MiB of memory", parts.memory_mib, MEMORY_MIB)?;
        if let Boot::Kernel { append, .. } = &parts.boot {
            if append.len() > LONGEST_COMMAND_LINE {
                return Err(MachineError::CommandLine("it is longer than 2047 bytes"));
            }
            if append.contains(char::is_control) {
                return Err(MachineError::CommandLine(
                    "there is a control character in it",
                ));
            }
        }
        match parts.disk.as_slice() {
            [] => Err(MachineError::Disk("it consists of no file")),
            [overlay, ..] if overlay.format != DiskFormat::Qcow2 => {
                Err(MachineError::Disk("what the guest writes to is no overlay"))
            }
            files => match files.split_last() {
                Some((_, above)) if above.iter().any(|file| file.format == DiskFormat::Raw) => {
                    Err(MachineError::Disk("nothing can lie behind a raw file"))
                }
                _ => Ok(Self(parts)),
            },
        }
    }

    /// QEMU's arguments.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let Parts {
            accelerator,
            cpus,
            memory_mib,
            boot,
            disk,
            sockets,
        } = &self.0;
        let mut args = Args::default();
        args.flags(["-nodefaults", "-no-user-config", "-no-reboot"]);
        args.option("-display", "none");
        args.option(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
        args.option("-machine", machine_option(*accelerator, boot));
        args.option("-cpu", accelerator.cpu());
        args.option("-smp", cpus.to_string());
        args.option("-m", format!("{memory_mib}M"));
        args.boot(boot);

        for file in disk {
            args.option("-add-fd", format!("fd={0},set={0}", file.fd));
        }
        args.option("-blockdev", block_device(disk).to_string());
        args.option("-device", "virtio-blk-pci,drive=disk");
        args.option("-object", "rng-builtin,id=rng");
        args.option("-device", "virtio-rng-pci,rng=rng");

        args.chardev("qmp", sockets.qmp);
        args.option("-mon", "chardev=qmp,mode=control");
        args.chardev("console", sockets.console);
        args.option("-serial", "chardev:console");
        args.option("-device", "virtio-serial-pci");
        for (id, socket, name) in [
            ("agent", sockets.agent, AGENT_PORT),
            ("stdin", sockets.stdin, STDIN_PORT),
            (STDOUT, sockets.stdout, STDOUT_PORT),
            ("stderr", sockets.stderr, STDERR_PORT),
        ] {
            args.chardev(id, socket);
            args.option(
                "-device",
                format!("virtserialport,id={id},chardev={id},name={name}"),
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
}

fn within(what: &'static str, found: u32, bounds: RangeInclusive<u32>) -> Result<(), MachineError> {
    if bounds.contains(&found) {
        return Ok(());
    }
    Err(MachineError::OutOfBounds {
        what,
        found,
        bounds,
    })
}

/// The disk as a block device: the whole chain, so that QEMU follows no name that stands in a file and guesses
/// no format.
fn block_device(files: &[DiskFile]) -> Value {
    let behind = files.iter().skip(1).rev();
    let backing = behind.fold(Value::Null, |backing, file| {
        let mut node = json!({
            "driver": file.format.to_string(),
            "read-only": true,
            "file": { "driver": "file", "filename": file.name(), "read-only": true },
        });
        if file.format == DiskFormat::Qcow2 {
            node["backing"] = backing;
        }
        node
    });
    let overlay = files.first().map(|file| file.name());
    json!({
        "driver": "qcow2",
        "node-name": "disk",
        "discard": "unmap",
        "detect-zeroes": "unmap",
        "file": { "driver": "file", "filename": overlay, "discard": "unmap" },
        "backing": backing,
        // The disk of a VM that dies is thrown away, and a finished one is synced when it is
        // published: the guest's flushes need not reach the host's disk.
        "cache": { "direct": false, "no-flush": true },
    })
}

impl DiskFile {
    /// QEMU's name for the set of descriptors with just this one in it.
    fn name(self) -> String {
        format!("/dev/fdset/{}", self.fd)
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

    fn parts() -> Parts {
        Parts {
            accelerator: Accelerator::Tcg,
            cpus: 2,
            memory_mib: 512,
            boot: Boot::Kernel {
                kernel: "/proc/self/fd/10".into(),
                initrd: Some("/proc/self/fd/11".into()),
                append: "console=ttyS0 quiet".into(),
            },
            disk: vec![
                DiskFile {
                    fd: 12,
                    format: DiskFormat::Qcow2,
                },
                DiskFile {
                    fd: 13,
                    format: DiskFormat::Qcow2,
                },
            ],
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

    fn connected() -> Sockets<RawFd> {
        Sockets {
            network: Some(9),
            ..parts().sockets
        }
    }

    /// The arguments, one option with its value a line.
    fn lines(parts: Parts) -> String {
        let mut lines = String::new();
        for arg in Machine::of(parts).unwrap().args() {
            let arg = arg.into_string().unwrap();
            let is_option = arg.starts_with('-') && !arg.contains(' ');
            lines.push_str(if is_option { "\n" } else { " " });
            lines.push_str(&arg);
        }
        lines
    }

    const SANDBOX: &str =
        "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
    const KERNEL: &str =
        "-kernel /proc/self/fd/10\n-initrd /proc/self/fd/11\n-append console=ttyS0 quiet\n";
    const DISK: &str = concat!(
        "-add-fd fd=12,set=12\n",
        "-add-fd fd=13,set=13\n",
        r#"-blockdev {"backing":{"backing":null,"driver":"qcow2","file":{"driver":"file","filename":"/dev/fdset/13","read-only":true},"read-only":true},"#,
        r#""cache":{"direct":false,"no-flush":true},"detect-zeroes":"unmap","discard":"unmap","driver":"qcow2","#,
        r#""file":{"discard":"unmap","driver":"file","filename":"/dev/fdset/12"},"node-name":"disk"}"#,
    );
    const DEVICES: &str = "\
-device virtio-blk-pci,drive=disk
-object rng-builtin,id=rng
-device virtio-rng-pci,rng=rng
-chardev socket,id=qmp,fd=3
-mon chardev=qmp,mode=control
-chardev socket,id=console,fd=4
-serial chardev:console
-device virtio-serial-pci
-chardev socket,id=agent,fd=5
-device virtserialport,id=agent,chardev=agent,name=org.qemu.guest_agent.0
-chardev socket,id=stdin,fd=6
-device virtserialport,id=stdin,chardev=stdin,name=snaptier.stdin
-chardev socket,id=stdout,fd=7
-device virtserialport,id=stdout,chardev=stdout,name=snaptier.stdout
-chardev socket,id=stderr,fd=8
-device virtserialport,id=stderr,chardev=stderr,name=snaptier.stderr";
    const NETWORK: &str = "
-netdev stream,id=net,server=off,addr.type=fd,addr.str=9
-device virtio-net-pci,netdev=net,mac=52:54:00:12:34:56,romfile=";

    #[test]
    fn each_kind_of_machine_has_exactly_these_arguments() {
        let microvm = "microvm,rtc=on,pit=on,pic=on,acpi=on,pcie=on";
        for (accelerator, boot, sockets, machine, loaded, network) in [
            (
                Accelerator::Tcg,
                parts().boot,
                parts().sockets,
                "-machine q35,accel=tcg\n-cpu max".to_owned(),
                KERNEL,
                "",
            ),
            (
                Accelerator::Kvm,
                parts().boot,
                connected(),
                format!("-machine {microvm},accel=kvm\n-cpu host"),
                KERNEL,
                NETWORK,
            ),
            (
                Accelerator::Tcg,
                Boot::Firmware,
                connected(),
                "-machine q35,accel=tcg\n-cpu max".to_owned(),
                "",
                NETWORK,
            ),
            (
                Accelerator::Kvm,
                Boot::Firmware,
                parts().sockets,
                "-machine q35,accel=kvm\n-cpu host".to_owned(),
                "",
                "",
            ),
        ] {
            let expected = format!(
                "\n-nodefaults\n-no-user-config\n-no-reboot\n-display none\n{SANDBOX}\n{machine}\n-smp 2\n-m 512M\n{loaded}{DISK}\n{DEVICES}{network}"
            );
            let found = lines(Parts {
                accelerator,
                boot,
                sockets,
                ..parts()
            });
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_kernel_without_an_initial_ram_disk_is_given_none() {
        let boot = Boot::Kernel {
            kernel: "/k".into(),
            initrd: None,
            append: String::new(),
        };
        let lines = lines(Parts { boot, ..parts() });
        assert!(lines.contains("\n-kernel /k\n-append \n"), "{lines}");
    }

    #[test]
    fn the_whole_chain_of_a_disk_is_told_and_ends_where_it_is_said_to() {
        let file = |fd, format| DiskFile { fd, format };
        let (qcow2, raw) = (DiskFormat::Qcow2, DiskFormat::Raw);
        let alone = block_device(&[file(1, qcow2)]);
        assert_eq!(alone["backing"], Value::Null);
        assert!(alone.as_object().unwrap().contains_key("backing"));

        let chain = block_device(&[file(1, qcow2), file(2, qcow2), file(3, raw)]);
        assert_eq!(chain["file"]["filename"], "/dev/fdset/1");
        assert_eq!(chain["backing"]["file"]["filename"], "/dev/fdset/2");
        let last = &chain["backing"]["backing"];
        assert_eq!(last["driver"], "raw");
        assert_eq!(last["file"]["filename"], "/dev/fdset/3");
        assert_eq!(last.get("backing"), None);
        for node in [&chain["backing"], last] {
            assert_eq!(node["read-only"], true);
            assert_eq!(node["file"]["read-only"], true);
        }
    }

    #[test]
    fn what_qemu_could_not_make_is_no_machine() {
        let append = |append: &str| Boot::Kernel {
            kernel: "/k".into(),
            initrd: None,
            append: append.to_owned(),
        };
        let disk = |formats: &[DiskFormat]| {
            let files = formats.iter().map(|&format| DiskFile { fd: 9, format });
            files.collect::<Vec<_>>()
        };
        let (qcow2, raw) = (DiskFormat::Qcow2, DiskFormat::Raw);
        for (parts, fault) in [
            (
                Parts { cpus: 0, ..parts() },
                Some("give a VM 0 processors: it takes between 1 and 255"),
            ),
            (Parts { cpus: 1, ..parts() }, None),
            (
                Parts {
                    cpus: 255,
                    ..parts()
                },
                None,
            ),
            (
                Parts {
                    cpus: 256,
                    ..parts()
                },
                Some("give a VM 256 processors"),
            ),
            (
                Parts {
                    memory_mib: 255,
                    ..parts()
                },
                Some("give a VM 255 MiB of memory: it takes between 256 and 1048576"),
            ),
            (
                Parts {
                    memory_mib: 256,
                    ..parts()
                },
                None,
            ),
            (
                Parts {
                    memory_mib: 1 << 20,
                    ..parts()
                },
                None,
            ),
            (
                Parts {
                    memory_mib: (1 << 20) + 1,
                    ..parts()
                },
                Some("MiB of memory"),
            ),
            (
                Parts {
                    boot: append(&"x".repeat(2047)),
                    ..parts()
                },
                None,
            ),
            (
                Parts {
                    boot: append(&"x".repeat(2048)),
                    ..parts()
                },
                Some("longer than 2047 bytes"),
            ),
            (
                Parts {
                    boot: append("a\nb"),
                    ..parts()
                },
                Some("control character"),
            ),
            (
                Parts {
                    disk: disk(&[]),
                    ..parts()
                },
                Some("no file"),
            ),
            (
                Parts {
                    disk: disk(&[raw]),
                    ..parts()
                },
                Some("no overlay"),
            ),
            (
                Parts {
                    disk: disk(&[qcow2, raw]),
                    ..parts()
                },
                None,
            ),
            (
                Parts {
                    disk: disk(&[qcow2, raw, qcow2]),
                    ..parts()
                },
                Some("behind a raw file"),
            ),
        ] {
            let made = Machine::of(parts).map_err(|error| error.to_string());
            match fault {
                None => drop(made.unwrap()),
                Some(fault) => assert!(made.clone().unwrap_err().contains(fault), "{made:?}"),
            }
        }
    }
}
