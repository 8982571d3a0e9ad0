//! The hierarchy over the real layers: a directory, and a store that is another one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_key::{BaseImage, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{
    BuildError, ContentDigest, Disk, Manifest, Provenance, Snapshot, SnapshotBuilder, Staging,
};
use hierarchy::{Hierarchy, Source, Tier};
use jiff::Timestamp;
use l2_disk::DiskLayer;
use l3_remote::{RemoteLayer, RemoteLocation};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn seed_19_when_both_miss_it_is_built_once_the_path_exists_and_soon_the_object_does() {
    let place = Place::new();
    let (cache, builder) = place.host("one");

    let answer = cache.get(&place.spec()).await.unwrap();

    assert_eq!(answer.source, Source::Built);
    assert!(
        answer
            .snapshot
            .path()
            .starts_with(place.dir.path().join("one"))
    );
    assert!(answer.snapshot.path().is_file());
    assert_eq!(cache.shutdown(LONG).await, []);
    let object = format!("snapshots/{}.qcow2.zst", place.spec().key());
    assert!(place.store().join(object).is_file());
    assert_eq!(builder.builds.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn seed_18_an_l3_hit_has_the_right_bytes_and_makes_no_build() {
    let place = Place::new();
    let (one, _) = place.host("one");
    one.get(&place.spec()).await.unwrap();
    assert_eq!(one.shutdown(LONG).await, []);
    let (other, builder) = place.host("other");

    let answer = other.get(&place.spec()).await.unwrap();

    assert_eq!(answer.source, Source::Layer("l3-remote"));
    let bytes = fs::read(answer.snapshot.path()).unwrap();
    assert!(bytes == fs::read(place.overlay()).unwrap(), "other bytes");
    assert_eq!(builder.builds.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn seed_20_after_an_l3_hit_l2_holds_it_even_when_the_store_is_gone() {
    let place = Place::new();
    let (one, _) = place.host("one");
    one.get(&place.spec()).await.unwrap();
    assert_eq!(one.shutdown(LONG).await, []);
    let (other, _) = place.host("other");
    let first = other.get(&place.spec()).await.unwrap();
    assert_eq!(first.source, Source::Layer("l3-remote"));

    fs::remove_dir_all(place.store()).unwrap();
    let second = other.get(&place.spec()).await.unwrap();

    assert_eq!(second.source, Source::Layer("l2-disk"));
    assert_eq!(first.snapshot.path(), second.snapshot.path());
    let l3 = &other.stats().layers[1];
    assert_eq!((l3.hits, l3.misses, l3.get_errors.total()), (1, 0, 0));
}

/// A store, a base image and an overlay of it that is what is built.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(place.store()).unwrap();
        let (base, overlay) = (place.base(), place.overlay());
        let create = ["create", "-q", "-f", "qcow2"];
        qemu_img(&[&create[..], &[base.to_str().unwrap(), "4M"]].concat());
        let backing = ["-F", "qcow2", "-b", base.to_str().unwrap()];
        qemu_img(&[&create[..], &backing[..], &[overlay.to_str().unwrap()]].concat());
        place
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn base(&self) -> PathBuf {
        self.dir.path().join("base.qcow2")
    }

    fn overlay(&self) -> PathBuf {
        self.dir.path().join("overlay.qcow2")
    }

    fn spec(&self) -> SnapshotSpec {
        let digest = ContentDigest::of_file(&self.base()).unwrap().to_bytes();
        let digest = ImageDigest::from_bytes(digest);
        let base = BaseImage::new(self.base(), DiskFormat::Qcow2, digest);
        SnapshotSpec::new(base, PackageSet::parse(Language::Python, ["a==1"]).unwrap())
    }

    /// The cache of a host of that name, and its builder.
    fn host(&self, name: &str) -> (Hierarchy, Arc<Copying>) {
        let disk = DiskLayer::open(&self.dir.path().join(name)).unwrap();
        let store = format!("file://{}", self.store().display());
        let store = store.parse::<RemoteLocation>().unwrap();
        let remote = RemoteLayer::new(store).unwrap();
        let staging = disk.staging().unwrap().clone();
        let builder = Arc::new(Copying {
            overlay: self.overlay(),
            builds: AtomicUsize::new(0),
        });
        let tiers = [Tier::local(Arc::new(disk)), Tier::remote(Arc::new(remote))];
        (Hierarchy::new(tiers, builder.clone(), staging), builder)
    }
}

fn qemu_img(args: &[&str]) {
    let made = Command::new("qemu-img").args(args).status();
    assert!(made.expect("qemu-img is installed").success());
}

/// A builder whose builds are copies of one disk.
#[derive(Debug)]
struct Copying {
    overlay: PathBuf,
    builds: AtomicUsize,
}

#[async_trait]
impl SnapshotBuilder for Copying {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        let manifest = manifest(spec, &self.overlay);
        let file = staging.file(manifest.key());
        fs::copy(&self.overlay, file.path()).unwrap();
        Ok(Snapshot::new(file.path().to_owned(), manifest).held_by(file))
    }
}

fn manifest(spec: &SnapshotSpec, overlay: &Path) -> Manifest {
    let disk = Disk::of_reader(fs::File::open(overlay).unwrap(), 4 << 20).unwrap();
    let provenance = Provenance::new(Timestamp::UNIX_EPOCH, "test");
    Manifest::new(spec.canonical(), disk, provenance)
}

impl fmt::Display for Copying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("copying")
    }
}
