//! The layer on real qcow2 files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cache_key::{BaseImage, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{
    CacheLayer, ContentDigest, Disk, LayerErrorKind, Lookup, Manifest, Provenance, Snapshot,
};
use jiff::Timestamp;
use l2_disk::DiskLayer;

const VIRTUAL_BYTES: u64 = 1 << 20;

fn qemu_img(args: &[&str]) {
    let status = Command::new("qemu-img")
        .args(args)
        .status()
        .expect("qemu-img is installed");
    assert!(status.success(), "qemu-img {args:?}");
}

/// A host: a base image, and a cache directory with a layer in it.
struct Host {
    dir: tempfile::TempDir,
    layer: DiskLayer,
    spec: SnapshotSpec,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base.qcow2");
        qemu_img(&["create", "-q", "-f", "qcow2", base.to_str().unwrap(), "1M"]);
        let layer = DiskLayer::open(&dir.path().join("cache")).unwrap();
        let digest = ImageDigest::from_bytes(ContentDigest::of_file(&base).unwrap().to_bytes());
        let base = BaseImage::new(base, DiskFormat::Qcow2, digest);
        let packages = PackageSet::parse(Language::Python, ["requests==2.32.3"]).unwrap();
        Self {
            dir,
            layer,
            spec: SnapshotSpec::new(base, packages),
        }
    }

    fn base(&self) -> &Path {
        self.spec.base_image().path()
    }

    fn entry(&self) -> PathBuf {
        self.dir
            .path()
            .join("cache")
            .join(format!("{}.qcow2", self.spec.key()))
    }

    fn sidecar(&self) -> PathBuf {
        self.entry().with_extension("json")
    }

    fn overlay(&self, at: &Path) {
        overlay(self.base(), at);
    }

    /// A snapshot of the spec, as a builder would leave it in staging.
    fn built(&self) -> Snapshot {
        let file = self.layer.staging().file(&self.spec.key());
        self.overlay(file.path());
        let disk = Disk {
            file_bytes: file.path().metadata().unwrap().len(),
            virtual_bytes: VIRTUAL_BYTES,
            blake3: ContentDigest::of_file(file.path()).unwrap(),
        };
        let provenance = Provenance {
            built_at: Timestamp::UNIX_EPOCH,
            built_by: "test".to_owned(),
            resolved: Vec::new(),
        };
        let manifest = Manifest::new(self.spec.canonical(), disk, provenance);
        Snapshot::new(file.path().to_owned(), manifest).held_by(file)
    }

    async fn get(&self) -> Lookup {
        self.layer
            .get(&self.spec, self.layer.staging())
            .await
            .unwrap()
    }
}

fn overlay(backing: &Path, at: &Path) {
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
    ]);
}

#[tokio::test]
async fn nothing_there_is_a_miss() {
    assert!(!Host::new().get().await.is_hit());
}

#[tokio::test]
async fn a_valid_qcow2_at_its_place_is_a_hit_with_its_path_and_gets_a_manifest() {
    let host = Host::new();
    host.overlay(&host.entry());
    let hit = host.get().await.hit().unwrap();
    assert_eq!(hit.path(), host.entry());
    assert_eq!(*hit.manifest().spec(), host.spec.canonical());
    assert!(host.sidecar().exists());
    assert!(host.get().await.is_hit());
}

#[tokio::test]
async fn a_missing_backing_file_is_a_miss_and_the_entry_is_removed() {
    let host = Host::new();
    host.layer.put(&host.built()).await.unwrap();
    fs::remove_file(host.base()).unwrap();
    assert!(!host.get().await.is_hit());
    assert!(!host.entry().exists() && !host.sidecar().exists());
}

#[tokio::test]
async fn a_backing_file_that_is_not_the_base_image_is_a_miss_and_the_entry_is_removed() {
    let host = Host::new();
    let other = host.dir.path().join("other.qcow2");
    fs::copy(host.base(), &other).unwrap();
    overlay(&other, &host.entry());
    assert!(!host.get().await.is_hit());
    assert!(!host.entry().exists());
}

#[tokio::test]
async fn a_backing_file_that_is_the_base_image_is_a_hit_and_the_file_stays() {
    let host = Host::new();
    let link = host.dir.path().join("the same image by another name.qcow2");
    std::os::unix::fs::symlink(host.base(), &link).unwrap();
    overlay(&link, &host.entry());
    assert!(host.get().await.is_hit());
    assert!(host.entry().exists());
}

#[tokio::test]
async fn what_was_put_is_a_hit_with_the_same_bytes_and_survives_its_source() {
    let host = Host::new();
    let built = host.built();
    let bytes = fs::read(built.path()).unwrap();
    let stored = host.layer.put(&built).await.unwrap();
    assert_eq!(stored.path(), host.entry());
    assert!(built.path().exists(), "the source is left as it is");
    drop(built);
    let hit = host.get().await.hit().unwrap();
    assert_eq!(fs::read(hit.path()).unwrap(), bytes);
    assert_eq!(hit.manifest(), stored.manifest());

    host.layer.put(&host.built()).await.unwrap();
    assert!(host.get().await.is_hit(), "putting it again succeeds");
}

#[tokio::test]
async fn another_directory_on_another_file_system_gets_a_copy() {
    let host = Host::new();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = elsewhere.path().join("made.qcow2");
    let built = host.built();
    fs::copy(built.path(), &file).unwrap();
    host.layer
        .put(&Snapshot::new(&file, built.manifest().clone()))
        .await
        .unwrap();
    fs::write(&file, "the source may change: it is nobody's business").unwrap();
    assert!(host.get().await.is_hit());
}

#[tokio::test]
async fn removing_removes_and_removing_what_is_not_there_succeeds() {
    let host = Host::new();
    host.layer.put(&host.built()).await.unwrap();
    for _ in 0..2 {
        host.layer.remove(&host.spec.key()).await.unwrap();
        assert!(!host.entry().exists() && !host.sidecar().exists());
    }
    assert!(!host.get().await.is_hit());
}

#[tokio::test]
async fn a_snapshot_whose_bytes_are_not_those_of_its_manifest_is_not_taken_in() {
    let host = Host::new();
    let built = host.built();
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(built.path())
        .unwrap();
    std::io::Write::write_all(&mut file, b"more").unwrap();
    let error = host.layer.put(&built).await.unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Corrupt);
    assert!(!host.entry().exists() && !host.sidecar().exists());
}

#[tokio::test]
async fn an_entry_that_was_changed_or_cut_or_is_no_qcow2_is_a_miss_and_is_removed() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |entry| fs::write(entry, "not a disk").unwrap(),
        |entry| fs::write(entry, b"").unwrap(),
        |entry| {
            let bytes = fs::read(entry).unwrap();
            fs::write(entry, &bytes[..bytes.len() - 100]).unwrap();
        },
        |entry| {
            let mut bytes = fs::read(entry).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1 << 4;
            bytes.extend([7; 4096]);
            fs::write(entry, bytes).unwrap();
        },
    ];
    for damage in damages {
        let host = Host::new();
        host.layer.put(&host.built()).await.unwrap();
        let mut permissions = host.entry().metadata().unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        fs::set_permissions(host.entry(), permissions).unwrap();
        damage(&host.entry());
        assert!(!host.get().await.is_hit());
        assert!(!host.entry().exists());
    }
}

#[tokio::test]
async fn an_entry_with_the_manifest_of_another_request_is_a_miss_and_is_removed() {
    let host = Host::new();
    host.layer.put(&host.built()).await.unwrap();
    let json = fs::read_to_string(host.sidecar()).unwrap();
    let other = PackageSet::parse(Language::Python, ["idna==3.7"]).unwrap();
    let other = SnapshotSpec::new(host.spec.base_image().clone(), other);
    let json = json
        .replace("requests==2.32.3", "idna==3.7")
        .replace(&host.spec.key().to_string(), &other.key().to_string());
    fs::write(host.sidecar(), json).unwrap();
    assert!(!host.get().await.is_hit());
    assert!(!host.entry().exists());
}

#[tokio::test]
async fn an_entry_of_a_newer_release_is_a_miss_and_is_left_alone() {
    let host = Host::new();
    host.layer.put(&host.built()).await.unwrap();
    let json = fs::read_to_string(host.sidecar()).unwrap();
    fs::write(
        host.sidecar(),
        json.replace("\"format_version\": 1", "\"format_version\": 99"),
    )
    .unwrap();
    assert!(!host.get().await.is_hit());
    assert!(host.entry().exists() && host.sidecar().exists());
}

#[tokio::test]
async fn an_entry_that_was_copied_to_another_directory_is_verified_and_taken() {
    let (host, other) = (Host::new(), tempfile::tempdir().unwrap());
    host.layer.put(&host.built()).await.unwrap();
    for file in [host.entry(), host.sidecar()] {
        fs::copy(&file, other.path().join(file.file_name().unwrap())).unwrap();
    }
    let layer = DiskLayer::open(other.path()).unwrap();
    assert!(
        layer
            .get(&host.spec, layer.staging())
            .await
            .unwrap()
            .is_hit()
    );
}

#[tokio::test]
async fn what_is_no_file_in_an_entrys_place_is_a_miss_and_leads_nowhere() {
    let host = Host::new();
    let target = host.dir.path().join("precious");
    host.overlay(&target);
    std::os::unix::fs::symlink(&target, host.entry()).unwrap();
    assert!(!host.get().await.is_hit());
    assert!(target.exists());
    fs::create_dir(host.entry()).unwrap();
    assert!(!host.get().await.is_hit());
    host.layer.put(&host.built()).await.unwrap();
    assert!(host.get().await.is_hit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_that_put_get_and_remove_see_whole_entries_or_none() {
    let host = std::sync::Arc::new(Host::new());
    let built = host.built();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (host, built) = (host.clone(), built.clone());
            tokio::spawn(async move {
                for round in 0..20 {
                    match (number + round) % 4 {
                        0 => drop(host.layer.put(&built).await.unwrap()),
                        1 => host.layer.remove(&host.spec.key()).await.unwrap(),
                        _ => {
                            if let Lookup::Hit(hit) = host.get().await {
                                assert_eq!(hit.manifest(), built.manifest());
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    host.layer.put(&built).await.unwrap();
    assert!(host.get().await.is_hit());
    let locks = host.dir.path().join("cache/.locks");
    assert_eq!(
        locks.read_dir().unwrap().count(),
        0,
        "no lock is left behind"
    );
}
