//! What this host has to have, installed by its own package manager where it is missing.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::Command;

use crate::Done;
use crate::cargo::run;

/// A file that has to be there, and the Debian package that brings it.
struct Need {
    /// The name of a program, or the path of another file.
    file: &'static str,
    package: &'static str,
}

const NEEDS: &[Need] = &[
    need("qemu-system-x86_64", "qemu-system-x86"),
    need("qemu-img", "qemu-utils"),
    need("mmdebstrap", "mmdebstrap"),
    need("mke2fs", "e2fsprogs"),
    need("unshare", "util-linux"),
    need(
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
    // The tests kill processes at a system call of their choice, and make full and read-only disks.
    need("strace", "strace"),
    need("mount", "mount"),
    // They have a BIOS boot a disk, and change one without mounting it.
    need("grub-mkimage", "grub-common"),
    need("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
    need("debugfs", "e2fsprogs"),
    // They make disks as an ordinary user does.
    need("fakeroot", "fakeroot"),
    // They hold our objects against everybody's zstd.
    need("zstd", "zstd"),
    // They make an authority for an index of their own.
    need("openssl", "openssl"),
];

/// What making an image needs besides when it is not root that makes it.
const ROOTLESS_NEEDS: &[Need] = &[need("newuidmap", "uidmap")];

const fn need(file: &'static str, package: &'static str) -> Need {
    Need { file, package }
}

/// Installing one package can remove another one that is of an older or newer release, so that it takes a
/// second round.
const ROUNDS: usize = 3;

#[expect(clippy::print_stderr, reason = "it is what a command line is for")]
pub(crate) fn setup() -> Done {
    for round in 0..ROUNDS {
        let missing = missing();
        if missing.is_empty() {
            return Ok(());
        }
        let packages: Vec<_> = missing.into_iter().collect();
        eprintln!("Missing on this host: {}", packages.join(" "));
        if round == 0 {
            agree()?;
            apt_get(&["update", "--quiet=2"])?;
        }
        let install = ["install", "--yes", "--quiet=2", "--no-install-recommends"];
        apt_get(&[&install[..], &packages].concat())?;
    }
    let missing = Vec::from_iter(missing());
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("installed, and still missing: {}", missing.join(" ")).into())
}

/// The package of what real object stores for the tests are installed with. No file of it has one name in all
/// releases, and a Python of another origin does as well.
const PYTHON_VENV: &str = "python3-venv";

fn has_python_venv() -> bool {
    let import = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .output();
    import.is_ok_and(|done| done.status.success())
}

/// The packages that bring what is not there.
fn missing() -> BTreeSet<&'static str> {
    let rootless = if is_root() { &[] } else { ROOTLESS_NEEDS };
    NEEDS
        .iter()
        .chain(rootless)
        .filter(|need| !is_there(need.file))
        .map(|need| need.package)
        .chain(Some(PYTHON_VENV).filter(|_| !has_python_venv()))
        .collect()
}

fn is_there(file: &str) -> bool {
    // Some are where only root's PATH leads.
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|dir| dir.join(file).is_file())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Asks whoever is at the terminal.
#[expect(clippy::print_stderr, reason = "it is what a command line is for")]
fn agree() -> Done {
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err("only Debian's apt-get is known here: install them by hand".into());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        eprintln!("Installing them with apt-get");
        return Ok(());
    }
    eprint!("Install them with apt-get? [Y/n] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "" | "y" | "Y" | "yes" => Ok(()),
        _ => Err("nothing was installed".into()),
    }
}

fn apt_get(args: &[&str]) -> Done {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    };
    run(command.args(args).env("DEBIAN_FRONTEND", "noninteractive"))
}
