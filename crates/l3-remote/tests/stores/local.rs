//! Stores that need no server: a directory, and memory.

use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use cache_layer::{
    CacheLayer, ContentDigest, LayerErrorKind, Phase, ProgressEvent, ProgressSink, Subject,
};
use l3_remote::RemoteLayer;

use crate::host::{Bucket, Host, tool};

#[tokio::test]
async fn seed_12_an_upload_leaves_one_zstd_object_and_no_temporary_file() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let snapshot = host.snapshot("a==1");
    bucket.layer().put(&snapshot).await.unwrap();
    let object = bucket.object(&snapshot);
    assert_eq!(bucket.files(), std::slice::from_ref(&object));
    assert_eq!(
        host.staging_files(),
        1,
        "nothing but the snapshot itself is in staging"
    );

    // Anybody's zstd gives the qcow2 file back.
    let plain = host.dir.path().join("plain");
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
    assert!(fs::read(plain).unwrap() == fs::read(snapshot.path()).unwrap());
}

#[tokio::test]
async fn seed_13_a_download_gives_back_the_same_bytes_with_its_holes() {
    use std::os::unix::fs::MetadataExt;

    let host = Host::new("base");
    let directory = Bucket::new();
    for layer in [
        directory.layer(),
        RemoteLayer::new("memory://".parse().unwrap()).unwrap(),
    ] {
        let snapshot = host.snapshot("a==1");
        layer.put(&snapshot).await.unwrap();
        let got = layer
            .get(&host.spec("a==1"), &host.staging)
            .await
            .unwrap()
            .hit()
            .unwrap();
        assert_ne!(got.path(), snapshot.path());
        assert!(
            fs::read(got.path()).unwrap() == fs::read(snapshot.path()).unwrap(),
            "{layer}"
        );
        assert_eq!(got.manifest(), snapshot.manifest());
        let (got, put) = (
            got.path().metadata().unwrap(),
            snapshot.path().metadata().unwrap(),
        );
        assert!(
            got.blocks() <= put.blocks() + 64,
            "{} blocks became {}",
            put.blocks(),
            got.blocks()
        );
    }
}

#[tokio::test]
async fn seed_14_what_is_not_there_is_a_miss_and_removing_it_succeeds() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let layer = bucket.layer();
    let (spec, snapshot) = (host.spec("a==1"), host.snapshot("a==1"));
    assert!(!layer.get(&spec, &host.staging).await.unwrap().is_hit());
    layer.remove(&spec.key()).await.unwrap();
    layer.put(&snapshot).await.unwrap();
    layer.remove(&spec.key()).await.unwrap();
    assert!(!layer.get(&spec, &host.staging).await.unwrap().is_hit());
    assert_eq!(bucket.files(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn another_host_gets_a_disk_over_its_own_base_image() {
    let bucket = Bucket::new();
    let (here, there) = (
        Host::new("base"),
        Host::new("the base image of another host, under a much longer name"),
    );
    bucket.layer().put(&here.snapshot("a==1")).await.unwrap();
    let spec = there.spec("a==1");
    let got = bucket
        .layer()
        .get(&spec, &there.staging)
        .await
        .unwrap()
        .hit()
        .unwrap();
    assert_eq!(*got.manifest().spec(), spec.canonical());
    assert_eq!(
        got.manifest().disk().blake3,
        ContentDigest::of_file(got.path()).unwrap()
    );
    // `compare` reads both backing chains, each over its own base image.
    let mine = here.snapshot("a==1");
    tool(
        "qemu-img",
        &[
            "compare",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            mine.path().to_str().unwrap(),
            got.path().to_str().unwrap(),
        ],
    );
    tool("qemu-img", &["check", "-q", got.path().to_str().unwrap()]);
    drop(here);
    tool(
        "qemu-img",
        &["info", "--backing-chain", got.path().to_str().unwrap()],
    );
}

#[tokio::test]
async fn the_object_of_another_request_under_the_same_key_is_a_miss() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let (asked, other) = (host.snapshot("a==1"), host.snapshot("b==1"));
    bucket.layer().put(&other).await.unwrap();
    fs::rename(bucket.object(&other), bucket.object(&asked)).unwrap();
    assert!(
        !bucket
            .layer()
            .get(&host.spec("a==1"), &host.staging)
            .await
            .unwrap()
            .is_hit()
    );
}

#[tokio::test]
async fn a_damaged_object_is_told_as_corrupt_and_nothing_is_left_of_it() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let snapshot = host.snapshot("a==1");
    bucket.layer().put(&snapshot).await.unwrap();
    let good = fs::read(bucket.object(&snapshot)).unwrap();
    let manifest_bytes = 8 + u32::from_le_bytes(good[4..8].try_into().unwrap()) as usize;
    let bomb = zstd::bulk::compress(&vec![0; 16 << 20], 1).unwrap();
    type Damage<'a> = Box<dyn Fn(&mut Vec<u8>) + 'a>;
    let damages: Vec<(&str, Damage<'_>)> = vec![
        ("cut off", Box::new(|b| b.truncate(b.len() / 2))),
        (
            "cut off after a frame",
            Box::new(|b| b.truncate(manifest_bytes)),
        ),
        (
            "a flipped bit",
            Box::new(|b| {
                let at = b.len() / 2;
                b[at] ^= 1;
            }),
        ),
        ("a manifest that is none", Box::new(|b| b[20] = 0xff)),
        (
            "more than was declared",
            Box::new(|b| {
                for _ in 0..8 {
                    b.extend(&bomb);
                }
            }),
        ),
        (
            "not zstd behind the manifest",
            Box::new(|b| {
                b.truncate(manifest_bytes);
                b.extend(b"not a frame of zstd");
            }),
        ),
    ];
    for (what, damage) in &damages {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::File::create(bucket.object(&snapshot))
            .unwrap()
            .write_all(&bytes)
            .unwrap();
        let error = bucket
            .layer()
            .get(&host.spec("a==1"), &host.staging)
            .await
            .map(drop)
            .expect_err(what);
        assert_eq!(error.kind(), LayerErrorKind::Corrupt, "{what}: {error}");
        assert_eq!(host.staging_files(), 1, "{what}");
    }
}

/// Counts the uploads under way, and holds each until two have been seen together and a third has had its chance.
#[derive(Debug, Default)]
struct Uploads {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    now: usize,
    most: usize,
    done: usize,
}

const NEVER: Duration = Duration::from_secs(60);
const CHANCE: Duration = Duration::from_millis(300);

impl ProgressSink for Uploads {
    fn report(&self, _: Subject<'_>, event: ProgressEvent<'_>) {
        let mut seen = self.seen.lock().unwrap();
        match event {
            ProgressEvent::Started(Phase::Upload) => {
                seen.now += 1;
                seen.most = seen.most.max(seen.now);
                self.changed.notify_all();
                for (limit, enough) in [(NEVER, 2), (CHANCE, 3)] {
                    seen = self
                        .changed
                        .wait_timeout_while(seen, limit, |seen| seen.most < enough)
                        .unwrap()
                        .0;
                }
            }
            ProgressEvent::Finished(Phase::Upload) => {
                seen.now -= 1;
                seen.done += 1;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seed_16_of_five_uploads_with_two_allowed_two_run_together_and_all_arrive() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let uploads = Arc::new(Uploads::default());
    let layer = bucket
        .layer()
        .with_max_concurrent_uploads(NonZero::new(2).unwrap())
        .with_progress(uploads.clone());
    let tasks: Vec<_> = (1..=5)
        .map(|version| {
            let (layer, snapshot) = (layer.clone(), host.snapshot(&format!("a=={version}")));
            tokio::spawn(async move { layer.put(&snapshot).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let seen = uploads.seen.lock().unwrap();
    assert_eq!((seen.most, seen.done), (2, 5));
    assert_eq!(bucket.files().len(), 5);
}

#[test]
fn a_layer_prints_its_place() {
    let layer = RemoteLayer::new("file:///srv/cache".parse().unwrap()).unwrap();
    assert_eq!(layer.to_string(), "l3-remote(file:///srv/cache)");
}
