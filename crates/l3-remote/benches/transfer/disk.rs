//! A snapshot with in it what snapshots have in them: a file system of programs and libraries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_key::{BaseImage, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{Disk, Manifest, Provenance, Snapshot, Staging};
use jiff::Timestamp;

pub(crate) struct Made {
    pub(crate) spec: SnapshotSpec,
    pub(crate) snapshot: Snapshot,
    pub(crate) staging: Staging,
}

/// What goes into the file system.
const FILES: &str = "/usr/lib";
const BYTES: u64 = 360 << 20;
const DISK_BYTES: u64 = 1 << 30;

impl Made {
    pub(crate) fn new(dir: &Path) -> Self {
        let (base, overlay) = (dir.join("base.qcow2"), dir.join("overlay.qcow2"));
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", text(&base), "1G"],
        );
        match env::var_os("SNAPTIER_BENCH_SNAPSHOT") {
            Some(path) => {
                fs::copy(path, &overlay).unwrap();
            }
            None => make(dir, &base, &overlay),
        }
        let spec = SnapshotSpec::new(
            BaseImage::new(&base, DiskFormat::Qcow2, ImageDigest::from_bytes([1; 32])),
            PackageSet::parse(Language::Python, ["bench==1"]).unwrap(),
        );
        let disk = Disk::of_reader(fs::File::open(&overlay).unwrap(), DISK_BYTES).unwrap();
        let provenance = Provenance::new(Timestamp::UNIX_EPOCH, "bench");
        let manifest = Manifest::new(spec.canonical(), disk, provenance);
        Self {
            snapshot: Snapshot::new(overlay, manifest),
            staging: Staging::open(&dir.join("cache")).unwrap(),
            spec,
        }
    }
}

fn make(dir: &Path, base: &Path, overlay: &Path) {
    let (tree, raw) = (dir.join("tree"), dir.join("raw.img"));
    fs::create_dir(&tree).unwrap();
    let mut left = BYTES;
    copy(Path::new(FILES), &tree, &mut left);
    assert!(left < BYTES / 2, "{FILES} holds too little");
    run("truncate", &["-s", "1G", text(&raw)]);
    run(
        "mke2fs",
        &["-q", "-t", "ext4", "-d", text(&tree), text(&raw)],
    );
    let convert = [
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-B",
        text(base),
        "-F",
        "qcow2",
    ];
    run(
        "qemu-img",
        &[&convert[..], &[text(&raw), text(overlay)]].concat(),
    );
    fs::remove_dir_all(tree).unwrap();
    fs::remove_file(raw).unwrap();
}

/// Copies files, in the order of their names, until there are enough.
fn copy(from: &Path, to: &Path, left: &mut u64) {
    let mut entries: Vec<PathBuf> = from
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let Ok(data) = path.symlink_metadata() else {
            continue;
        };
        let target = to.join(path.file_name().unwrap());
        if data.is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&path, &target, left);
        } else if data.is_file() && data.len() <= *left && fs::copy(&path, &target).is_ok() {
            *left -= data.len();
        }
    }
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status();
    assert!(status.unwrap().success(), "{program} {args:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
