use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;
use vm_builder::{Accelerator, Boot, GuestImage, VmHost};

/// A QEMU as one would start it by hand, with the devices that a build's has.
pub(crate) struct Bare {
    child: Child,
    agent: UnixStream,
    began: Instant,
}

impl Bare {
    /// Starts one on a new overlay in `dir`.
    pub(crate) fn start(
        host: &VmHost,
        accelerator: Accelerator,
        image: &GuestImage,
        dir: &Path,
    ) -> Self {
        let Boot::Kernel {
            kernel,
            initrd: Some(initrd),
            append,
        } = &image.boot
        else {
            panic!("the image has no kernel: {image:?}");
        };
        if dir.exists() {
            fs::remove_dir_all(dir).unwrap();
        }
        fs::create_dir(dir).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        let began = Instant::now();
        let made = Command::new(&host.qemu_img)
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .args([image.base.path(), &dir.join("disk")])
            .status();
        assert!(made.unwrap().success());
        let listeners = ["agent", "qmp", "console", "in", "out", "err", "net"]
            .map(|name| UnixListener::bind(dir.join(name)).unwrap());

        let (machine, cpu) = match accelerator {
            Accelerator::Kvm => (
                "microvm,rtc=on,pit=on,pic=on,acpi=on,pcie=on,accel=kvm",
                "host",
            ),
            _ => ("q35,accel=tcg", "max"),
        };
        let disk = json!({
            "driver": "qcow2", "node-name": "disk", "discard": "unmap", "detect-zeroes": "unmap",
            "file": { "driver": "file", "filename": at("disk"), "discard": "unmap" },
            "cache": { "direct": false, "no-flush": true },
        });
        let mut command = Command::new(&host.qemu);
        let (cpus, memory) = (host.cpus.to_string(), format!("{}M", host.memory_mib));
        command
            .args([
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
                "-display",
                "none",
            ])
            .args([
                "-machine", machine, "-cpu", cpu, "-smp", &cpus, "-m", &memory,
            ])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", append, "-blockdev", &disk.to_string()])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .args([
                "-object",
                "rng-builtin,id=rng",
                "-device",
                "virtio-rng-pci,rng=rng",
            ])
            .args(["-chardev", &format!("socket,id=qmp,path={}", at("qmp"))])
            .args(["-mon", "chardev=qmp,mode=control"])
            .args([
                "-chardev",
                &format!("socket,id=console,path={}", at("console")),
            ])
            .args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        for (id, name) in [
            ("agent", "org.qemu.guest_agent.0"),
            ("in", "snaptier.stdin"),
            ("out", "snaptier.stdout"),
            ("err", "snaptier.stderr"),
        ] {
            command
                .args(["-chardev", &format!("socket,id={id},path={}", at(id))])
                .args([
                    "-device",
                    &format!("virtserialport,chardev={id},name={name}"),
                ]);
        }
        let net = format!(
            "stream,id=net,server=off,addr.type=unix,addr.path={}",
            at("net")
        );
        command
            .args(["-netdev", &net])
            .args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        let child = command.spawn().unwrap();
        let mut peers = listeners
            .map(|listener| listener.accept().unwrap().0)
            .into_iter();
        let agent = peers.next().unwrap();
        // Whatever else it says is read and forgotten, so that it never waits.
        for mut peer in peers {
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while matches!(peer.read(&mut bytes), Ok(1..)) {}
            });
        }
        Self {
            child,
            agent,
            began,
        }
    }

    /// How long the overlay, the boot and the agent's first answer took together.
    pub(crate) fn agent_answered_after(&self) -> Duration {
        let ask = b"{\"execute\": \"guest-sync\", \"arguments\": {\"id\": 7}}\n";
        (&self.agent).write_all(ask).unwrap();
        let mut answer = String::new();
        BufReader::new(&self.agent).read_line(&mut answer).unwrap();
        assert!(answer.contains("\"return\": 7"), "{answer}");
        self.began.elapsed()
    }

    /// How long it takes to power off.
    pub(crate) fn power_off(mut self) -> Duration {
        let began = Instant::now();
        self.agent
            .write_all(b"{\"execute\": \"guest-shutdown\"}\n")
            .unwrap();
        assert!(self.child.wait().unwrap().success());
        began.elapsed()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It has ended, unless the bench failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
