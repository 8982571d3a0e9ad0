use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cache_key::{BaseImage, CacheKey, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{Disk, Manifest, Provenance, Snapshot, StagedFile, Staging};
use jiff::Timestamp;
use l3_remote::RemoteLayer;

pub(crate) fn tool(program: &str, args: &[&str]) {
    let status = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .status();
    assert!(
        status.expect("the program is installed").success(),
        "{program} {args:?}"
    );
}

/// A host with a base image of its own path and the staging of a cache.
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) base: PathBuf,
    pub(crate) staging: Staging,
}

impl Host {
    pub(crate) fn new(base_name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join(base_name);
        tool(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", base.to_str().unwrap(), "64M"],
        );
        let staging = Staging::open(&dir.path().join("cache")).unwrap();
        Self { dir, base, staging }
    }

    pub(crate) fn spec(&self, package: &str) -> SnapshotSpec {
        // The base images of all hosts count as one here, though an empty disk of QEMU's would be one anyway.
        let base = BaseImage::new(
            &self.base,
            DiskFormat::Qcow2,
            ImageDigest::from_bytes([7; 32]),
        );
        SnapshotSpec::new(
            base,
            PackageSet::parse(Language::Python, [package]).unwrap(),
        )
    }

    /// A snapshot with data in it that compresses badly, data that does well, and holes; a few MB.
    pub(crate) fn snapshot(&self, package: &str) -> Snapshot {
        self.snapshot_of(package, "5M", 6_000_000)
    }

    /// The same, of more than fits into one part or one range, compressed as it is.
    pub(crate) fn large_snapshot(&self, package: &str) -> Snapshot {
        self.snapshot_of(package, "28M", 30_000_000)
    }

    /// A snapshot of `size`, as QEMU's tools write it, that does not get smaller. Takes no memory to make.
    pub(crate) fn incompressible_snapshot(&self, package: &str, size: &str) -> Snapshot {
        let spec = self.spec(package);
        let file = self.staging.file(&spec.key());
        let (path, base) = (file.path().to_str().unwrap(), self.base.to_str().unwrap());
        let create = [
            "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path, "1G",
        ];
        tool("qemu-img", &create);
        let block = self.dir.path().join("block");
        fs::write(&block, (0..6 << 20).map(scrambled).collect::<Vec<_>>()).unwrap();
        // Over and over, each time further than a frame reaches back.
        let write = format!("write -s {} 0 {size}", block.display());
        tool("qemu-io", &["-f", "qcow2", "-c", &write, path]);
        self.take(file, &spec)
    }

    fn snapshot_of(&self, package: &str, written: &str, random: u64) -> Snapshot {
        let spec = self.spec(package);
        let file = self.staging.file(&spec.key());
        let (path, base) = (file.path().to_str().unwrap(), self.base.to_str().unwrap());
        tool(
            "qemu-img",
            &[
                "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path,
            ],
        );
        let random: Vec<u8> = (0..random).map(scrambled).collect();
        let source = self.dir.path().join("random");
        fs::write(&source, random).unwrap();
        let write = format!("write -s {} 1M {written}", source.display());
        tool(
            "qemu-io",
            &[
                "-f",
                "qcow2",
                "-c",
                &write,
                "-c",
                "write -P 5 40M 3M",
                "-c",
                "write -P 0 50M 6M",
                path,
            ],
        );
        self.take(file, &spec)
    }

    fn take(&self, file: StagedFile, spec: &SnapshotSpec) -> Snapshot {
        let bytes = fs::File::open(file.path()).unwrap();
        let disk = Disk::of_reader(bytes, virtual_bytes(file.path())).unwrap();
        let provenance = Provenance::new(Timestamp::UNIX_EPOCH, "test");
        Snapshot::new(
            file.path().to_owned(),
            Manifest::new(spec.canonical(), disk, provenance),
        )
        .held_by(file)
    }
}

/// A directory that serves as a store.
pub(crate) struct Bucket(pub(crate) tempfile::TempDir);

impl Bucket {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn layer(&self) -> RemoteLayer {
        RemoteLayer::new(
            format!("file://{}", self.0.path().display())
                .parse()
                .unwrap(),
        )
        .unwrap()
    }

    pub(crate) fn object(&self, snapshot: &Snapshot) -> PathBuf {
        self.0
            .path()
            .join(format!("snapshots/{}.qcow2.zst", snapshot.key()))
    }

    /// Puts a file where the object of `key` is looked for.
    pub(crate) fn place(&self, key: &CacheKey, file: impl AsRef<Path>) {
        let folder = self.0.path().join("snapshots");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(file, folder.join(format!("{key}.qcow2.zst"))).unwrap();
    }

    /// Every file in the bucket.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
            for entry in dir.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, files);
                } else {
                    files.push(path);
                }
            }
        }
        let mut files = Vec::new();
        walk(self.0.path(), &mut files);
        files
    }
}

impl Host {
    pub(crate) fn staging_files(&self) -> usize {
        let areas = self.staging.root().join(".staging").read_dir().unwrap();
        let files = areas.flat_map(|area| area.unwrap().path().read_dir().unwrap());
        files
            .filter(|file| file.as_ref().unwrap().file_name() != "owner")
            .count()
    }
}

/// A byte that has nothing to do with its neighbours (the finalizer of `SplitMix64`).
fn scrambled(n: u64) -> u8 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (n ^ (n >> 31)) as u8
}

fn virtual_bytes(disk: &Path) -> u64 {
    let mut size = [0; 8];
    let disk = fs::File::open(disk).unwrap();
    disk.read_exact_at(&mut size, 24).unwrap();
    u64::from_be_bytes(size)
}
