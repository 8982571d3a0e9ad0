//! Objects that say nothing about themselves, as other caches write them: one zstd frame.

use std::fs;
use std::io::Write;
use std::path::Path;

use cache_layer::{CacheLayer, LayerErrorKind};

use crate::host::{Bucket, Host, tool};

/// Streamed, so that the frame does not say how much is in it.
fn streamed(raw: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.write_all(raw).unwrap();
    encoder.finish().unwrap()
}

/// A bucket in which `object` is what `package` is looked for under.
fn holding(host: &Host, package: &str, object: &[u8]) -> Bucket {
    let bucket = Bucket::new();
    let path = host.dir.path().join("object");
    fs::write(&path, object).unwrap();
    bucket.place(&host.spec(package).key(), path);
    bucket
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[tokio::test]
async fn it_is_a_miss_where_nobody_said_otherwise_and_the_next_upload_replaces_it() {
    let host = Host::new("base");
    let snapshot = host.snapshot("a==1");
    let bucket = holding(&host, "a==1", &streamed(&read(snapshot.path())));
    let layer = bucket.layer();
    let spec = host.spec("a==1");
    assert!(!layer.get(&spec, &host.staging).await.unwrap().is_hit());
    layer.put(&snapshot).await.unwrap();
    let got = layer.get(&spec, &host.staging).await.unwrap().hit();
    assert_eq!(got.unwrap().manifest(), snapshot.manifest());
}

#[tokio::test]
async fn where_it_is_accepted_it_is_taken_for_what_its_name_says_over_this_hosts_base_image() {
    let there = Host::new("base");
    let here = Host::new("the base image of this host, under another name");
    let raw = read(there.snapshot("a==1").path());
    let two_frames = [
        streamed(&raw[..raw.len() / 3]),
        streamed(&raw[raw.len() / 3..]),
    ];
    for object in [streamed(&raw), two_frames.concat()] {
        let bucket = holding(&here, "a==1", &object);
        let layer = bucket.layer().with_accept_unmanifested(true);
        let spec = here.spec("a==1");
        let got = layer.get(&spec, &here.staging).await.unwrap();
        let got = got.hit().unwrap();
        tool("qemu-img", &["check", "-q", got.path().to_str().unwrap()]);
        assert_eq!(*got.manifest().spec(), spec.canonical());
        let by = &got.manifest().provenance().built_by;
        assert!(
            by.starts_with("unknown, found without a manifest in file:///"),
            "{by}"
        );
    }
}

#[tokio::test]
async fn one_that_is_damaged_is_a_bomb_or_is_no_overlay_is_corrupt_and_leaves_nothing() {
    let host = Host::new("base");
    let raw = read(host.snapshot("a==1").path());
    let whole = streamed(&raw);
    // The header of a disk of 64 MiB, and far more than that behind it.
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    bomb.write_all(&raw).unwrap();
    for _ in 0..200 {
        bomb.write_all(&[0; 1 << 20]).unwrap();
    }
    let no_overlay = read(&host.base);
    for (what, object) in [
        ("cut off", whole[..whole.len() / 2].to_vec()),
        ("a bomb", bomb.finish().unwrap()),
        ("no overlay", streamed(&no_overlay)),
        ("no qcow2", streamed(&[1; 1000])),
        ("next to nothing", streamed(b"QFI")),
    ] {
        let bucket = holding(&host, "a==1", &object);
        let layer = bucket.layer().with_accept_unmanifested(true);
        let got = layer.get(&host.spec("a==1"), &host.staging).await;
        let error = got.map(drop).expect_err(what);
        assert_eq!(error.kind(), LayerErrorKind::Corrupt, "{what}: {error}");
        assert_eq!(host.staging_files(), 0, "{what}");
    }
}
