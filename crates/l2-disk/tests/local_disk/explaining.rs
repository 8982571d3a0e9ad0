//! What the layer would answer, without its being asked.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use cache_key::{BaseImage, DiskFormat, ImageDigest, SnapshotSpec};
use cache_layer::{Explanation, Kinship};
use l2_disk::DiskLayer;
use serde_json::Value;

use crate::host::{Host, REQUESTS, names};

const OLDER: &str = "requests==2.32.2";

/// All that there is to see of a directory: names, contents, and when they were modified.
fn seen(dir: &Path) -> Vec<(String, Vec<u8>, SystemTime)> {
    let look = |name: String| {
        let path = dir.join(&name);
        let modified = path.symlink_metadata().unwrap().modified().unwrap();
        (name, fs::read(path).unwrap_or_default(), modified)
    };
    names(dir).into_iter().map(look).collect()
}

impl Host {
    /// What a layer that only looks would answer. Nothing may be otherwise afterwards.
    async fn explained(&self, spec: &SnapshotSpec) -> Explanation {
        let before = seen(self.layer.root());
        let layer = DiskLayer::only_to_look(self.layer.root()).unwrap();
        let explained = layer.explain(spec).await.unwrap();
        assert_eq!(
            seen(self.layer.root()),
            before,
            "explaining changed something"
        );
        explained
    }

    fn over_another_image(&self) -> SnapshotSpec {
        let base = BaseImage::new(
            self.base(),
            DiskFormat::Qcow2,
            ImageDigest::from_bytes([7; 32]),
        );
        SnapshotSpec::new(base, self.spec().packages().clone())
    }
}

#[tokio::test]
async fn a_hit_is_told_and_does_not_count_as_a_use() {
    let host = Host::new();
    host.put(REQUESTS).await;
    let explained = host.explained(&host.spec()).await;
    assert!(explained.is_hit());
    assert_eq!(explained.reason(), None);
    assert!(
        explained.to_string().contains("the very file"),
        "{explained}"
    );
}

#[tokio::test]
async fn what_a_hit_would_verify_first_is_verified_and_not_adopted() {
    let host = Host::new();
    host.overlay(&host.entry());
    let explained = host.explained(&host.spec()).await;
    assert!(
        explained.to_string().contains("read whole it is sound"),
        "{explained}"
    );
    assert!(!host.sidecar().exists());
}

#[tokio::test]
async fn what_is_not_there_was_never_put_or_is_gone_and_neither_is_claimed() {
    let host = Host::new();
    let explained = host.explained(&host.spec()).await;
    assert_eq!(explained, Explanation::Absent { near: None });
    assert_eq!(
        explained.to_string(),
        "nothing is there under this key: it was never put, or is gone again"
    );
    // Neither a directory that is not there yet.
    let nowhere = host.dir.path().join("nowhere");
    let layer = DiskLayer::only_to_look(&nowhere).unwrap();
    let explained = layer.explain(&host.spec()).await.unwrap();
    assert_eq!(explained.reason(), Some("absent"));
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn the_same_packages_over_another_base_image_are_told_with_its_digest() {
    let host = Host::new();
    host.put(REQUESTS).await;
    host.put(OLDER).await;
    let explained = host.explained(&host.over_another_image()).await;
    assert_eq!(explained.reason(), Some("other-base-image"));
    let digest = host.spec().base_image().digest().to_string();
    assert!(explained.to_string().contains(&digest), "{explained}");
    assert_eq!(explained.near().unwrap().key, host.spec().key());
}

#[tokio::test]
async fn the_nearest_package_set_over_the_same_base_image_is_told() {
    let host = Host::new();
    host.put("six==1.16.0").await;
    let unrelated = host.explained(&host.spec()).await;
    assert_eq!(unrelated.reason(), Some("absent"));
    host.put(OLDER).await;
    let explained = host.explained(&host.spec()).await;
    let near = explained.near().unwrap();
    assert_eq!(near.kinship, Kinship::OtherPackages);
    assert_eq!(near.key, host.disks.spec(OLDER).key());
    assert!(
        explained.to_string().contains("has `requests==2.32.2`"),
        "{explained}"
    );
}

#[tokio::test]
async fn the_snapshot_of_another_request_under_the_same_key_is_told_with_that_request() {
    let host = Host::new();
    host.put(REQUESTS).await;
    // As if two sets had one sum: the other's manifest and disk under this name.
    host.put(OLDER).await;
    let other = host.entry_of(OLDER);
    fs::rename(other.with_extension("json"), host.sidecar()).unwrap();
    let explained = host.explained(&host.spec()).await;
    assert_eq!(explained.reason(), Some("other-request"));
    assert!(
        explained.to_string().contains("`requests==2.32.2` over"),
        "{explained}"
    );
}

#[tokio::test]
async fn what_is_damaged_is_told_with_what_is_wrong_and_stays() {
    type Damage = fn(&Host);
    let damages: [(&str, Damage, &str); 4] = [
        ("corrupt", cut_off, "or of the file, at 0x12c"),
        ("corrupt", rot, "its bytes are not those of its manifest"),
        (
            "corrupt",
            |host| fs::write(host.sidecar(), "not JSON").unwrap(),
            "not a manifest",
        ),
        ("newer", from_the_future, "newer than"),
    ];
    for (reason, damage, words) in damages {
        let host = Host::new();
        host.put(REQUESTS).await;
        fs::set_permissions(host.entry(), fs::Permissions::from_mode(0o644)).unwrap();
        damage(&host);
        let explained = host.explained(&host.spec()).await;
        assert_eq!(explained.reason(), Some(reason), "{explained}");
        assert!(explained.to_string().contains(words), "{explained}");
    }
}

#[tokio::test]
async fn a_base_image_that_is_gone_is_told() {
    let host = Host::new();
    host.put(REQUESTS).await;
    fs::remove_file(host.base()).unwrap();
    let explained = host.explained(&host.spec()).await;
    assert_eq!(explained.reason(), Some("backing-file"));
    let base = host.base().display().to_string();
    assert!(explained.to_string().contains(&base), "{explained}");
}

fn cut_off(host: &Host) {
    let file = fs::File::options().write(true).open(host.entry());
    file.unwrap().set_len(300).unwrap();
}

/// In the space between the header and the tables.
fn rot(host: &Host) {
    let file = fs::File::options().write(true).open(host.entry());
    file.unwrap().write_all_at(b"rot", 0x8000).unwrap();
}

fn from_the_future(host: &Host) {
    let mut sidecar: Value = serde_json::from_slice(&fs::read(host.sidecar()).unwrap()).unwrap();
    sidecar["manifest"]["format_version"] = 99.into();
    fs::write(host.sidecar(), sidecar.to_string()).unwrap();
}
