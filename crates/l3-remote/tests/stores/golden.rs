//! What release 0.1 wrote is read for ever.

use std::fs;
use std::path::PathBuf;

use cache_key::{BaseImage, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{CacheLayer, ContentDigest, Manifest};

use crate::host::{Bucket, Host, tool};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/objects")
        .join(name)
}

/// The request that the golden object answers, of a host that has the base image where it was made.
fn spec() -> SnapshotSpec {
    let digest = ImageDigest::from_bytes([7; 32]);
    let base = BaseImage::new("/images/base.qcow2", DiskFormat::Qcow2, digest);
    let packages = PackageSet::parse(Language::Python, ["golden==1.0"]);
    SnapshotSpec::new(base, packages.unwrap())
}

#[tokio::test]
async fn the_golden_object_of_format_1_is_the_snapshot_that_its_manifest_describes() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let spec = spec();
    // The key moves with releases, and what it stands for does not.
    bucket.place(&spec.key(), fixture("v1.qcow2.zst"));
    let got = bucket.layer().get(&spec, &host.staging).await.unwrap();
    let got = got.hit().unwrap();
    let json = fs::read(fixture("v1.json")).unwrap();
    let expected = Manifest::from_json(&json).unwrap();
    assert_eq!(**got.manifest(), expected);
    assert_eq!(
        ContentDigest::of_file(got.path()).unwrap(),
        expected.disk().blake3
    );
}

#[test]
fn anybodys_zstd_makes_the_golden_object_the_same_qcow2_file() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    let object = fixture("v1.qcow2.zst");
    tool(
        "zstd",
        &[
            "-q",
            "-d",
            object.to_str().unwrap(),
            "-o",
            plain.to_str().unwrap(),
        ],
    );
    let json = fs::read(fixture("v1.json")).unwrap();
    let manifest = Manifest::from_json(&json).unwrap();
    assert_eq!(
        ContentDigest::of_file(&plain).unwrap(),
        manifest.disk().blake3
    );
}
