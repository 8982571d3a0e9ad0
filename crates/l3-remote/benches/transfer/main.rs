//! How fast a snapshot goes to a store and comes back, on real servers of this host.
//!
//! Each line on standard output is a JSON object: what was measured, in seconds, medians of several runs. `bound`
//! is the slower of zstd's own program and the plain transfer of the uncompressed file to the same server; the
//! `ratio` is the bound over our time, so that 1 is as fast as can be expected. With a snapshot's path in
//! `SNAPTIER_BENCH_SNAPSHOT`, that one is sent. With a peer in `SNAPTIER_BENCH_PEER`, it is measured beside us, as often and
//! as warm.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![expect(clippy::print_stdout, reason = "it is what a bench is for")]

mod disk;
mod peer;
mod plain;

use std::num::NonZero;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cache_layer::{CacheLayer, Snapshot};
use l3_remote::{
    MOST_WORKERS, PART_BYTES, PARTS_AT_ONCE, RANGE_BYTES, RANGES_AHEAD, RemoteLayer,
    RemoteLocation, S3Keys,
};
use serde_json::json;
use store_testkit::faults::{FaultProxy, Link, Script};
use store_testkit::servers::{Bucket, Running, S3sFs, SeaweedFs, StoreServer};

use disk::Made;

const RUNS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = Made::new(dir.path());
    let zstd = zstd(dir.path(), made.snapshot.path());
    println!(
        "{}",
        json!({
            "bytes": made.snapshot.manifest().disk().file_bytes,
            "frame_bytes": l3_remote::object::RAW_FRAME_BYTES,
            "level": l3_remote::object::LEVEL,
            "parts": format!("{PARTS_AT_ONCE} of {PART_BYTES}"),
            "ranges": format!("{RANGES_AHEAD} of {RANGE_BYTES}"),
            "most_workers": MOST_WORKERS,
            "runs": RUNS,
            "zstd_compress_s": zstd.0,
            "zstd_decompress_s": zstd.1,
        })
    );
    for server in [&S3sFs as &'static dyn StoreServer, &SeaweedFs] {
        let at = dir.path().join(server.name());
        let running = Running::start(server, &at).unwrap();
        let bucket = running.make_bucket("bench").unwrap();
        runtime.block_on(near(server.name(), &made, &bucket, zstd));
        let snapshot = made.snapshot.path();
        let peer = peer::transfer(&bucket, snapshot, &dir.path().join("peer"), RUNS);
        if let Some((upload, download)) = peer {
            println!(
                "{}",
                json!({ "server": server.name(), "peer_upload_s": upload, "peer_download_s": download })
            );
        }
        runtime.block_on(far(server.name(), &made, &bucket, dir.path()));
    }
}

/// On loopback.
async fn near(server: &str, made: &Made, bucket: &Bucket, zstd: (f64, f64)) {
    let layer = layer(bucket);
    let mut uploads = Vec::new();
    for _ in 0..=RUNS {
        layer.remove(made.snapshot.key()).await.unwrap();
        uploads.push(timed(layer.put(&made.snapshot)).await.0);
    }
    let mut downloads = Vec::new();
    for _ in 0..=RUNS {
        downloads.push(download(&layer, made).await);
    }
    let (put, get) = plain::transfer(bucket, made.snapshot.path(), RUNS).await;
    let (upload, download) = (warm_median(uploads), warm_median(downloads));
    let (up_bound, down_bound) = (put.max(zstd.0), get.max(zstd.1));
    println!(
        "{}",
        json!({
            "server": server,
            "upload_s": upload,
            "upload_bound_s": up_bound,
            "upload_ratio": up_bound / upload,
            "download_s": download,
            "download_bound_s": down_bound,
            "download_ratio": down_bound / download,
            "plain_put_s": put,
            "plain_get_s": get,
        })
    );
}

/// Twenty milliseconds away, and 64 MB/s for each connection.
async fn far(server: &str, made: &Made, bucket: &Bucket, dir: &Path) {
    let link = Link {
        round_trip: Duration::from_millis(20),
        bytes_per_second: NonZero::new(64_000_000),
    };
    let proxy = FaultProxy::over(&bucket.endpoint, Script::new(0), link).unwrap();
    let bucket = bucket.at(&proxy.endpoint());
    let layer = layer(&bucket);
    let object = format!("snapshots/{}.qcow2.zst", made.snapshot.key());
    let mut ranges = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..RUNS {
        ranges.push(download(&layer, made).await);
        streams.push(plain::one_stream(&bucket, &object, &dir.join("streamed")).await);
    }
    let (ranges, stream) = (median(ranges), median(streams));
    println!(
        "{}",
        json!({
            "server": server,
            "round_trip_ms": 20,
            "bytes_per_second_and_connection": 64_000_000,
            "download_s": ranges,
            "one_stream_s": stream,
            "ratio": stream / ranges,
        })
    );
}

async fn download(layer: &RemoteLayer, made: &Made) -> f64 {
    let (seconds, got) = timed(layer.get(&made.spec, &made.staging)).await;
    let got: Snapshot = got.unwrap().hit().unwrap();
    assert_eq!(got.manifest(), made.snapshot.manifest());
    seconds
}

fn layer(bucket: &Bucket) -> RemoteLayer {
    let location: RemoteLocation = bucket.remote_uri("").parse().unwrap();
    let keys = bucket.keys.as_ref().unwrap();
    RemoteLayer::new(location.with_s3_keys(S3Keys {
        access: keys.access.clone(),
        secret: keys.secret.clone(),
        session_token: None,
    }))
    .unwrap()
}

/// What zstd's own program takes, on two threads as it can, from a file to a file.
fn zstd(dir: &Path, file: &Path) -> (f64, f64) {
    let (packed, raw) = (dir.join("packed"), dir.join("raw"));
    let run = |args: &[&str], from: &Path, to: &Path| {
        let began = Instant::now();
        let status = Command::new("zstd")
            .args(args)
            .args([from.as_os_str(), "-o".as_ref(), to.as_os_str()])
            .stdin(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        began.elapsed().as_secs_f64()
    };
    let times: (Vec<_>, Vec<_>) = (0..RUNS)
        .map(|_| {
            (
                run(&["-q", "-f", "-3", "-T2"], file, &packed),
                run(&["-q", "-f", "-d"], &packed, &raw),
            )
        })
        .unzip();
    (median(times.0), median(times.1))
}

async fn timed<T>(work: impl Future<Output = T>) -> (f64, T) {
    let began = Instant::now();
    let done = work.await;
    (began.elapsed().as_secs_f64(), done)
}

/// Without the first, which pays for memory that was free for long: a virtual machine gives it back to its host, and
/// to have it again takes longer than all the rest of a download. What others do here reuses what it freed itself.
fn warm_median(mut seconds: Vec<f64>) -> f64 {
    seconds.remove(0);
    median(seconds)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
