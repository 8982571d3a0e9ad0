//! A peer on the same snapshot and server: a program that is called with the snapshot, a directory to work in and
//! the server's endpoint, and prints its times as JSON. It is let in with the keys of all test servers.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use store_testkit::servers::Bucket;

use crate::warm_median;

/// What it takes to upload and to download, in seconds, if the environment names one: a Python and a script for it.
pub(crate) fn transfer(
    bucket: &Bucket,
    snapshot: &Path,
    dir: &Path,
    runs: usize,
) -> Option<(f64, f64)> {
    let python = env::var_os("SNAPTIER_BENCH_PYTHON")?;
    let script = env::var_os("SNAPTIER_BENCH_PEER")?;
    let (mut uploads, mut downloads) = (Vec::new(), Vec::new());
    for _ in 0..=runs {
        let times = run(&python, &script, bucket, snapshot, dir);
        uploads.push(times["l3_upload_s"].as_f64().unwrap());
        downloads.push(times["l3_download_s"].as_f64().unwrap());
    }
    Some((warm_median(uploads), warm_median(downloads)))
}

fn run(python: &OsStr, script: &OsStr, bucket: &Bucket, snapshot: &Path, dir: &Path) -> Value {
    let output = Command::new(python)
        .arg(script)
        .arg(snapshot)
        .arg(dir)
        .arg(&bucket.endpoint)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the peer failed");
    let said = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}
