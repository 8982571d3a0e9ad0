//! Disks made by QEMU's own tools.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn qemu_img(args: &[&str]) -> Output {
    run("qemu-img", args)
}

pub(crate) fn qemu_io(path: &Path, command: &str) {
    run(
        "qemu-io",
        &["-f", "qcow2", "-c", command, path.to_str().unwrap()],
    );
}

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} is installed: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A directory with a base image and an overlay of it that holds data.
pub(crate) struct Disks {
    dir: tempfile::TempDir,
}

impl Disks {
    pub(crate) fn new(options: &str) -> Self {
        let disks = Self::empty(options);
        qemu_io(&disks.path("overlay.qcow2"), "write -P 7 70k 300k");
        disks
    }

    /// The overlay has no data of its own yet.
    pub(crate) fn empty(options: &str) -> Self {
        let disks = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let (base, overlay) = (disks.path("base.qcow2"), disks.path("overlay.qcow2"));
        let base = base.to_str().unwrap();
        let overlay = overlay.to_str().unwrap();
        qemu_img(&["create", "-q", "-f", "qcow2", base, "4M"]);
        qemu_img(&[
            "create", "-q", "-f", "qcow2", "-o", options, "-F", "qcow2", "-b", base, overlay,
        ]);
        disks
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn overlay(&self) -> Vec<u8> {
        std::fs::read(self.path("overlay.qcow2")).unwrap()
    }
}
