//! How much memory a transfer takes. A test target of its own: the peak is that of the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "stores/host.rs"]
#[expect(dead_code, reason = "shared with the other test target")]
mod host;

use std::fs;

use cache_layer::CacheLayer;

use host::{Bucket, Host};

/// Far more than a transfer may hold.
const SNAPSHOT: &str = "640M";
const MOST_OF_UPLOAD: u64 = 128;
/// What a download holds comes to some 100 MiB. How its large buffers come to lie between each other adds up to as much
/// again, and differs from run to run.
const MOST_OF_DOWNLOAD: u64 = 256;

/// The most memory that this process has had at once, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_takes_little_memory_however_large_the_snapshot_is() {
    let (host, bucket) = (Host::new("base"), Bucket::new());
    let snapshot = host.incompressible_snapshot("a==1", SNAPSHOT);
    assert!(snapshot.manifest().disk().file_bytes > 600 << 20);
    let before = peak();
    bucket.layer().put(&snapshot).await.unwrap();
    let uploaded = peak();
    let got = bucket.layer().get(&host.spec("a==1"), &host.staging).await;
    assert!(got.unwrap().is_hit());
    let downloaded = peak();
    println!(
        "peak: {before} MiB before, {uploaded} after the upload, {downloaded} after the download"
    );
    assert!(
        uploaded - before <= MOST_OF_UPLOAD,
        "{before} became {uploaded}"
    );
    assert!(
        downloaded - before <= MOST_OF_DOWNLOAD,
        "{before} became {downloaded}"
    );
}
