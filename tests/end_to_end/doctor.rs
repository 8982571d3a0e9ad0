//! What the doctor says of hosts that lack something, and of one that lacks nothing.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use store_testkit::servers::{S3sFs, for_test};

use crate::host::{Host, Said, python_image};
use crate::import::{APPEND, ours};

/// What it says, check by check.
#[derive(Debug)]
struct Diagnosis {
    code: Option<i32>,
    json: Value,
}

impl Diagnosis {
    fn of(command: Command) -> Self {
        let said = Said::of(command);
        let json = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        Self {
            code: said.code,
            json,
        }
    }

    fn check(&self, name: &str) -> &Value {
        let checks = self.json["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["check"] == name);
        found.unwrap_or_else(|| panic!("there is no check {name}: {checks:?}"))
    }

    /// The check has this status, a remedy unless all is well, and says this.
    #[track_caller]
    fn says(&self, name: &str, status: &str, word: &str) {
        let check = self.check(name);
        assert_eq!(check["status"], status, "{check}");
        assert_eq!(check["remedy"].is_null(), status == "ok", "{check}");
        assert!(check.to_string().contains(word), "{word}: {check}");
    }

    fn fails(&self) -> Vec<&str> {
        let checks = self.json["checks"].as_array().unwrap().iter();
        let failed = checks.filter(|check| check["status"] == "failed");
        failed
            .map(|check| check["check"].as_str().unwrap())
            .collect()
    }
}

const DOCTOR: [&str; 2] = ["doctor", "--json"];

fn doctor(host: &Host) -> Command {
    host.snaptier(&DOCTOR)
}

/// This host with this script as its QEMU, in which `$qemu` is the real one.
fn with_qemu(host: &Host, script: &str) -> Diagnosis {
    with_qemu_and_images(host, script, python_image())
}

fn with_qemu_and_images(host: &Host, script: &str, images: &Path) -> Diagnosis {
    let dir = tempfile::tempdir().unwrap();
    // QEMU need not run as whoever owns the folder.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let stand_in = dir.path().join(qemu());
    let script = format!("#!/bin/bash\nqemu={}\n{script}\n", real_qemu().display());
    fs::write(&stand_in, script).unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    with_programs_of(dir.path(), host, images)
}

/// This host with the programs in `dir` before all others.
fn with_programs_of(dir: &Path, host: &Host, images: &Path) -> Diagnosis {
    let path = std::env::var("PATH").unwrap();
    let mut command = host.snaptier_with_images(images, &DOCTOR);
    command.env("PATH", format!("{}:{path}", dir.display()));
    Diagnosis::of(command)
}

fn qemu() -> String {
    format!("qemu-system-{}", std::env::consts::ARCH)
}

fn real_qemu() -> PathBuf {
    let path = std::env::var("PATH").unwrap();
    let mut files = std::env::split_paths(&path).map(|dir| dir.join(qemu()));
    files.find(|file| file.is_file()).unwrap()
}

#[test]
fn a_qemu_that_its_user_cannot_start_fails() {
    let host = Host::new();
    // A folder of our own, with a QEMU that others could start.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(real_qemu(), dir.path().join(qemu())).unwrap();
    let said = with_programs_of(dir.path(), &host, python_image());
    if rustix::process::geteuid().is_root() {
        said.says("accelerator", "failed", "as user 60987");
        assert_eq!(said.fails(), ["accelerator"]);
        assert_eq!(said.code, Some(5), "{said:?}");
    } else {
        // Nobody else has a QEMU that runs as another user.
        assert_eq!(said.fails(), [] as [&str; 0]);
    }
}

/// Has KVM abort, as it does on a host that offers it and cannot run a guest.
const KVM_ABORTS: &str = r#"
case "$*" in *accel=kvm*) echo "failed to set MSR" >&2; exit 134;; esac
exec "$qemu" "$@""#;
/// Has KVM refused to a QEMU that is not root's, as it is where the device is root's alone.
const KVM_REFUSED: &str = r#"
case "$*" in *accel=kvm*) [ "$(id -u)" = 0 ] || { echo "failed to initialize kvm: Permission denied" >&2; exit 1; };; esac
exec "$qemu" "$@""#;
/// Has TCG do KVM's work, and take for ever over its own.
const KVM_WORKS: &str = r#"
case "$*" in *accel=tcg*) exec sleep 600;; esac
args=("$@")
for at in "${!args[@]}"; do
	case "${args[at]}" in
	*accel=kvm) args[at]=q35,accel=tcg;;
	host) args[at]=max;;
	esac
done
exec "$qemu" "${args[@]}""#;

#[test]
fn a_hypervisor_is_well_when_a_guest_runs_with_it_and_a_dead_one_is_a_warning() {
    let host = Host::new();
    // The device may be root's alone.
    let mut here = doctor(&host);
    here.env("SNAPTIER_QEMU_USER", "own");
    let here = Diagnosis::of(here);
    for (check, word) in [
        ("qemu", "QEMU emulator version"),
        ("qemu-img", "qemu-img version"),
        ("image tools", "all there"),
        ("python image", "its disk is what it was"),
        ("cache directory", "free"),
        ("image directory", "free"),
        ("remote", "none"),
        ("ca bundle", ""),
        ("host proxy", ""),
    ] {
        here.says(check, "ok", word);
    }
    assert_eq!(here.code, Some(0), "{here:?}");
    // It looked, and made nothing.
    assert!(!host.cache_dir().exists());

    let is_kvm_alive = here.check("accelerator")["status"] == "ok";
    if !can_open_kvm() {
        // Neither a live nor a dead one is to be had: what is left to say is that there is none.
        here.says("accelerator", "warning", "/dev/kvm cannot be opened");
        return;
    }
    // Whichever of the two this machine is, it shows for real; a script stands in for the other.
    let (alive, dead) = if is_kvm_alive {
        (here, with_qemu(&host, KVM_ABORTS))
    } else {
        (with_qemu(&host, KVM_WORKS), here)
    };
    dead.says("accelerator", "warning", "tcg: ");
    assert_eq!(dead.code, Some(0), "{dead:?}");
    assert_eq!(dead.json["ok"], true);

    alive.says("accelerator", "ok", "kvm: the image ");
    assert_eq!(alive.code, Some(0), "{alive:?}");
}

#[test]
fn a_hypervisor_that_only_root_may_use_is_told_from_a_dead_one() {
    let host = Host::new();
    let said = with_qemu(&host, KVM_REFUSED);
    if !can_open_kvm() {
        said.says("accelerator", "warning", "/dev/kvm cannot be opened");
    } else if rustix::process::geteuid().is_root() {
        said.says("accelerator", "warning", "kvm is refused to user 60987");
        said.says("accelerator", "warning", "--qemu-user own");
    } else {
        // Nobody else has a QEMU that runs as another user.
        said.says("accelerator", "warning", "kvm runs no guest: failed to");
    }
}

fn can_open_kvm() -> bool {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok()
}

#[test]
fn an_imported_image_shows_by_its_agents_answer_whether_a_guest_runs() {
    let (host, dir) = (Host::new(), tempfile::tempdir().unwrap());
    let images = dir.path().join("images");
    let [disk, kernel, initrd] =
        ["disk.qcow2", "vmlinuz", "initrd.img"].map(|name| ours().join(name));
    let mut import = host.snaptier_with_images(&images, &["image", "import"]);
    import.args(["--language", "python", "--append", APPEND, "--disk"]);
    import
        .arg(disk)
        .arg("--kernel")
        .arg(kernel)
        .arg("--initrd")
        .arg(initrd);
    Said::of(import).answer();

    // The stand-in works here, whatever the real one does.
    let said = with_qemu_and_images(&host, KVM_WORKS, &images);
    if can_open_kvm() {
        said.says("accelerator", "ok", "kvm: the image ");
    } else {
        said.says("accelerator", "warning", "/dev/kvm cannot be opened");
    }
    let said = with_qemu_and_images(&host, KVM_ABORTS, &images);
    said.says("accelerator", "warning", "tcg: ");
}

#[test]
fn a_host_without_qemu_is_told_what_to_install_and_fails() {
    let host = Host::new();
    let empty = tempfile::tempdir().unwrap();
    let mut command = doctor(&host);
    command.env("PATH", empty.path());
    let said = Diagnosis::of(command);
    assert_eq!(said.code, Some(5), "{said:?}");
    assert_eq!(said.json["ok"], false);
    assert_eq!(said.fails(), ["qemu", "qemu-img"]);
    said.says("qemu", "failed", "qemu-system-x86");
    said.says("qemu-img", "failed", "qemu-utils");
    said.says("accelerator", "warning", "not tried");
    said.says("image tools", "warning", "mmdebstrap");

    let mut for_people = host.snaptier(&["doctor"]);
    for_people.env("PATH", empty.path());
    let table = Said::of(for_people).stdout;
    let row = table.lines().find(|line| line.starts_with("qemu-img "));
    assert!(
        row.unwrap()
            .contains("failed   `qemu-img` is not installed"),
        "{table}"
    );
    assert!(
        table.contains("→ install the package qemu-utils"),
        "{table}"
    );
}

#[test]
fn a_qemu_that_is_too_old_fails() {
    let old = "echo 'QEMU emulator version 6.2.0'";
    let said = with_qemu(&Host::new(), old);
    assert_eq!(said.code, Some(5), "{said:?}");
    said.says("qemu", "failed", "7.2 or later");
}

/// A copy of the Python image that may be damaged.
fn copied_image(dir: &Path) -> (PathBuf, PathBuf) {
    let images = dir.join("images");
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto"])
        .arg(python_image())
        .arg(&images);
    assert!(copy.status().unwrap().success());
    let python = images.join(ours().file_name().unwrap());
    (images, python)
}

#[test]
fn an_image_that_is_not_what_it_was_fails_with_the_way_to_another_one() {
    let (host, dir) = (Host::new(), tempfile::tempdir().unwrap());
    let (images, python) = copied_image(dir.path());
    let diagnosis = || Diagnosis::of(host.snaptier_with_images(&images, &DOCTOR));

    fs::rename(python.join("vmlinuz"), python.join("elsewhere")).unwrap();
    let without = diagnosis();
    assert_eq!(without.code, Some(5), "{without:?}");
    without.says("python image", "failed", "vmlinuz");
    fs::rename(python.join("elsewhere"), python.join("vmlinuz")).unwrap();
    diagnosis().says("python image", "ok", "its disk is what it was");

    let disk = python.join("disk.qcow2");
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o644)).unwrap();
    let mut disk = File::options().append(true).open(disk).unwrap();
    disk.write_all(b"x").unwrap();
    let changed = diagnosis();
    assert_eq!(changed.code, Some(5), "{changed:?}");
    changed.says("python image", "failed", "has changed");
}

#[test]
fn a_cache_directory_or_a_bundle_that_cannot_be_used_fails() {
    let host = Host::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = doctor(&host);
    command
        .env("SNAPTIER_CACHE_DIR", file.path().join("below a file"))
        .env("SNAPTIER_CA_BUNDLE", file.path());
    let said = Diagnosis::of(command);
    assert_eq!(said.code, Some(5), "{said:?}");
    assert_eq!(said.fails(), ["cache directory", "ca bundle"]);
    said.says("cache directory", "failed", "--cache-dir");
}

#[test]
fn a_remote_store_is_tried_and_left_as_it_was_and_one_that_fails_is_a_warning() {
    let (host, dir) = (Host::new(), tempfile::tempdir().unwrap());
    let Some(server) = for_test(&S3sFs, dir.path()) else {
        return;
    };
    let bucket = server.make_bucket("shared").unwrap();
    let before = files(dir.path());
    let at = |uri: &str, environment: &[(&str, String)]| {
        let mut command = doctor(&host);
        command.env("SNAPTIER_REMOTE", uri);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let said = Diagnosis::of(command);
        // A get steps over a store that fails.
        assert_eq!(said.code, Some(0), "{said:?}");
        said
    };
    let (uri, keys) = (bucket.remote_uri("team"), bucket.environment());
    at(&uri, &keys).says("remote", "ok", "keeps to conditional writes");
    assert_eq!(files(dir.path()), before);

    let mut wrong = keys.clone();
    wrong[1].1 = "wrong".to_owned();
    at(&uri, &wrong).says("remote", "warning", "credentials");
    let elsewhere = uri.replace("s3://shared", "s3://absent");
    at(&elsewhere, &keys).says("remote", "warning", "no such bucket");
    drop(server);
    at(&uri, &keys).says("remote", "warning", "Connection refused");

    let shared_dir = dir.path().join("a/shared/directory");
    let in_a_file = format!("file://{}", shared_dir.display());
    at(&in_a_file, &[]).says("remote", "ok", "free");
    assert!(!dir.path().join("a").exists());
}

/// Every file below `dir`, but for what the server notes about buckets and objects, gone ones too.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(".bucket-")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
