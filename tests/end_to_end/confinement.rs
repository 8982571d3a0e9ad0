//! What a QEMU is on the host: nobody's process, with nothing of ours but what it was handed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;

use crate::host::{Host, Said};

/// A machine whose guest runs a command that waits for the end of its input.
struct Running {
    child: Child,
    process: u32,
}

impl Running {
    /// Starts one from a process with a secret in its environment and an open file that it lets its children inherit.
    fn start(host: &Host) -> Self {
        let snaptier = host.snaptier(&["-q", "run", "python", "--", "sh", "-c", "echo up; cat"]);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", r#"exec 9</etc/passwd; exec "$@""#, "sh"])
            .arg(snaptier.get_program())
            .args(snaptier.get_args())
            .env("A_SECRET", "of ours")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, value) in snaptier.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let mut child = shell.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let machines = host.machines();
        assert_eq!(machines.len(), 1, "{machines:?}");
        Self {
            child,
            process: machines[0],
        }
    }

    fn proc(&self, file: &str) -> String {
        let bytes = fs::read(format!("/proc/{}/{file}", self.process)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// The words behind `name` in a table of the kernel.
    fn field(&self, file: &str, name: &str) -> Vec<String> {
        let table = self.proc(file);
        let line = table.lines().find_map(|line| line.strip_prefix(name));
        let words = line.unwrap_or_else(|| panic!("{name} in {table}"));
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn qemu_is_nobodys_process_and_has_nothing_of_ours() {
    let host = Host::new();
    let machine = Running::start(&host);
    let ours = geteuid();
    if ours.is_root() {
        for ids in ["Uid:", "Gid:"] {
            assert_eq!(machine.field("status", ids), ["60987"; 4]);
        }
        let groups = machine.field("status", "Groups:");
        assert!(
            groups.len() <= 1 && !groups.contains(&"0".to_owned()),
            "{groups:?}"
        );
        // A container may keep its root from making one.
        let mut makes_one = Command::new("unshare");
        makes_one.args(["--net", "--ipc", "true"]);
        let is_apart = |kind: &str| {
            let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap();
            of(&machine.process.to_string()) != of("self")
        };
        let can_be = makes_one.status().unwrap().success();
        assert_eq!(["net", "ipc"].map(is_apart), [can_be; 2]);
    } else {
        assert_eq!(
            machine.field("status", "Uid:"),
            vec![ours.as_raw().to_string(); 4]
        );
    }
    assert_eq!(machine.field("status", "CapPrm:"), ["0000000000000000"]);
    assert_eq!(machine.field("status", "CapAmb:"), ["0000000000000000"]);
    assert_eq!(machine.field("status", "NoNewPrivs:"), ["1"]);
    assert_eq!(machine.field("status", "Seccomp:"), ["2"]);
    let limit = |name| machine.field("limits", name)[..2].to_vec();
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(
        limit("Max file size"),
        [(16_u64 << 30).to_string(), (16_u64 << 30).to_string()]
    );
    assert_ne!(limit("Max address space")[1], "unlimited");

    let environment = machine.proc("environ");
    let mut names: Vec<_> = environment
        .split('\0')
        .filter_map(|it| it.split('=').next())
        .collect();
    names.retain(|name| !name.is_empty() && !["PATH", "LD_LIBRARY_PATH"].contains(name));
    assert_eq!(names, [] as [&str; 0]);
    let link = |file: &str| fs::read_link(format!("/proc/{}/{file}", machine.process)).unwrap();
    assert_eq!(link("cwd"), Path::new("/"));

    // Its files: the overlay, what lies behind it, kernel and initial RAM disk, and what QEMU itself makes.
    let descriptors = fs::read_dir(format!("/proc/{}/fd", machine.process)).unwrap();
    let mut files = Vec::new();
    for descriptor in descriptors {
        let file = fs::read_link(descriptor.unwrap().path()).unwrap();
        if file.is_absolute() && !file.starts_with("/dev") && !file.starts_with("/memfd:") {
            files.push(file.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    let is_known = |file: &String| {
        file.ends_with(".qcow2") || ["vmlinuz", "initrd.img"].contains(&file.as_str())
    };
    assert!(files.iter().all(is_known), "{files:?}");
    let disks: Vec<_> = files
        .iter()
        .filter(|file| file.ends_with(".qcow2"))
        .collect();
    assert!(disks.len() >= 3, "the whole chain is not there: {files:?}");
    machine.end();
    assert_eq!(host.machines(), [] as [u32; 0]);
}

#[test]
fn a_user_that_does_not_exist_here_is_told_with_the_remedy() {
    let host = Host::new();
    if !geteuid().is_root() {
        // Then QEMU is our own process, whoever is named.
        let run = ["--qemu-user", "12345", "run", "python", "--", "true"];
        assert_eq!(host.says(&run).code, Some(0));
        return;
    }
    // A namespace in which root is the only user.
    let mut alone = Command::new("unshare");
    let snaptier = host.snaptier(&["-q", "get", "python", "idna==3.7"]);
    alone
        .args(["--user", "--map-root-user"])
        .arg(snaptier.get_program());
    alone.args(snaptier.get_args());
    for (name, value) in snaptier.get_envs() {
        match value {
            Some(value) => alone.env(name, value),
            None => alone.env_remove(name),
        };
    }
    let said = Said::of(alone);
    assert_eq!(said.code, Some(5), "{said:?}");
    let message = "as user 60987, group 60987: root's QEMU runs as another user";
    assert!(
        said.stderr.contains(message) && said.stderr.contains("--qemu-user"),
        "{said:?}"
    );
    assert_eq!((host.entries(), host.staged()), (vec![], vec![]));
}

#[test]
fn a_guest_that_fills_its_disk_past_the_limit_is_ended_with_the_limit_and_the_remedy() {
    let host = Host::new();
    let fill = "head -c 90000000 /dev/urandom >/big; sync; sleep 1000";
    let said = host.says(&[
        "-q",
        "--vm-disk-limit",
        "64MiB",
        "run",
        "python",
        "--",
        "sh",
        "-c",
        fill,
    ]);
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(
        said.stderr
            .contains("run phase: the guest's disk grew past its limit of 64 MiB"),
        "{said:?}"
    );
    assert!(said.stderr.contains("--vm-disk-limit"), "{said:?}");

    let said = host.says(&[
        "-q",
        "--vm-disk-limit",
        "2MiB",
        "get",
        "python",
        "requests==2.32.3",
    ]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(
        said.stderr
            .contains("phase: the guest's disk grew past its limit of 2 MiB"),
        "{said:?}"
    );
    assert_eq!(
        (host.entries().len(), host.staged()),
        (2, vec![]),
        "{:?}",
        host.entries()
    );
    assert_eq!(host.machines(), [] as [u32; 0]);
}
