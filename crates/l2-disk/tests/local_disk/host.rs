//! A host: a base image, and a cache directory with a layer in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_key::{BaseImage, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{
    CacheLayer, ContentDigest, Disk, Lookup, Manifest, Provenance, ResolvedPackage, Snapshot,
};
use jiff::Timestamp;
use l2_disk::{Budget, DiskLayer};

pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) layer: DiskLayer,
    pub(crate) disks: Disks,
}

/// A base image and an overlay of it with a MiB of data, whose bytes every snapshot here has.
#[derive(Debug, Clone)]
pub(crate) struct Disks {
    pub(crate) base: PathBuf,
    pub(crate) overlay: PathBuf,
    digest: ImageDigest,
}

/// What is installed along with it.
const RESOLVED: [(&str, &str); 5] = [
    ("certifi", "2024.7.4"),
    ("charset-normalizer", "3.3.2"),
    ("idna", "3.7"),
    ("requests", "2.32.3"),
    ("urllib3", "2.2.2"),
];

pub(crate) const REQUESTS: &str = "requests==2.32.3";

impl Host {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            layer: DiskLayer::open(&dir.path().join("cache")).unwrap(),
            disks: Disks::make(dir.path()),
            dir,
        }
    }

    pub(crate) fn with_budget(budget: Budget) -> Self {
        let host = Self::new();
        let layer = host.layer.clone().with_budget(budget);
        Self { layer, ..host }
    }

    pub(crate) fn base(&self) -> &Path {
        &self.disks.base
    }

    pub(crate) fn spec(&self) -> SnapshotSpec {
        self.disks.spec(REQUESTS)
    }

    pub(crate) fn entry(&self) -> PathBuf {
        self.entry_of(REQUESTS)
    }

    pub(crate) fn entry_of(&self, package: &str) -> PathBuf {
        let key = self.disks.spec(package).key();
        self.layer.root().join(format!("{key}.qcow2"))
    }

    pub(crate) fn sidecar(&self) -> PathBuf {
        self.entry().with_extension("json")
    }

    /// Puts an overlay of the base image where somebody wants it.
    pub(crate) fn overlay(&self, at: &Path) {
        overlay(self.base(), at);
    }

    pub(crate) fn built(&self) -> Snapshot {
        self.disks.staged(&self.layer, REQUESTS)
    }

    pub(crate) async fn get(&self) -> Lookup {
        self.get_of(REQUESTS).await
    }

    pub(crate) async fn get_of(&self, package: &str) -> Lookup {
        let spec = self.disks.spec(package);
        let staging = self.layer.staging().unwrap();
        self.layer.get(&spec, staging).await.unwrap()
    }

    pub(crate) async fn put(&self, package: &str) -> Snapshot {
        let built = self.disks.staged(&self.layer, package);
        self.layer.put(&built).await.unwrap()
    }

    /// The names in a directory of the layer.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        names(&self.layer.root().join(dir))
    }
}

impl Disks {
    pub(crate) fn make(dir: &Path) -> Self {
        let (base, file) = (dir.join("base.qcow2"), dir.join("overlay.qcow2"));
        qemu_img(&["create", "-q", "-f", "qcow2", base.to_str().unwrap(), "4M"]);
        overlay(&base, &file);
        let write = Command::new("qemu-io")
            .args(["-f", "qcow2", "-c", "write -q -P 7 0 1M"])
            .arg(&file)
            .status();
        assert!(write.expect("qemu-io is installed").success());
        Self::of(dir)
    }

    /// Those that were made in `dir`.
    pub(crate) fn of(dir: &Path) -> Self {
        let base = dir.join("base.qcow2");
        let digest = ContentDigest::of_file(&base).unwrap().to_bytes();
        Self {
            digest: ImageDigest::from_bytes(digest),
            overlay: dir.join("overlay.qcow2"),
            base,
        }
    }

    pub(crate) fn spec(&self, package: &str) -> SnapshotSpec {
        let base = BaseImage::new(&self.base, DiskFormat::Qcow2, self.digest);
        SnapshotSpec::new(
            base,
            PackageSet::parse(Language::Python, [package]).unwrap(),
        )
    }

    pub(crate) fn manifest(&self, package: &str) -> Manifest {
        let file = fs::File::open(&self.overlay).unwrap();
        let disk = Disk::of_reader(file, virtual_bytes(&self.overlay)).unwrap();
        let provenance = Provenance {
            resolved: RESOLVED.map(resolved).into(),
            ..Provenance::new(Timestamp::UNIX_EPOCH, "test")
        };
        Manifest::new(self.spec(package).canonical(), disk, provenance)
    }

    /// A snapshot as a builder would leave it in staging.
    pub(crate) fn staged(&self, layer: &DiskLayer, package: &str) -> Snapshot {
        let manifest = self.manifest(package);
        let file = layer.staging().unwrap().file(manifest.key());
        fs::copy(&self.overlay, file.path()).unwrap();
        Snapshot::new(file.path().to_owned(), manifest).held_by(file)
    }

    /// A snapshot as it may come from anywhere.
    pub(crate) fn elsewhere(&self, package: &str) -> Snapshot {
        Snapshot::new(&self.overlay, self.manifest(package))
    }
}

pub(crate) fn overlay(backing: &Path, at: &Path) {
    overlay_of_size(backing, at, "4M");
}

pub(crate) fn overlay_of_size(backing: &Path, at: &Path, size: &str) {
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        backing.to_str().unwrap(),
        at.to_str().unwrap(),
        size,
    ]);
}

/// What a guest sees of a disk.
fn virtual_bytes(disk: &Path) -> u64 {
    let header = qcow2_header::Qcow2Header::read(fs::File::open(disk).unwrap());
    header.unwrap().virtual_bytes
}

fn qemu_img(args: &[&str]) {
    let status = Command::new("qemu-img").args(args).status();
    assert!(
        status.expect("qemu-img is installed").success(),
        "qemu-img {args:?}"
    );
}

fn resolved((name, version): (&str, &str)) -> ResolvedPackage {
    ResolvedPackage {
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = dir
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
