//! A peer on the same snapshot and server: a program that is called with the snapshot, a directory to work in and
//! the server's endpoint, and prints its times as JSON. It is let in with the keys of all test servers.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use store_testkit::servers::Bucket;

/// Its times, if the environment names one: a Python and a script for it.
pub(crate) fn times(bucket: &Bucket, snapshot: &Path, dir: &Path) -> Option<Value> {
    let python = env::var_os("SNAPTIER_BENCH_PYTHON")?;
    let script = env::var_os("SNAPTIER_BENCH_PEER")?;
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
    Some(serde_json::from_str(said.lines().last().unwrap()).unwrap())
}
