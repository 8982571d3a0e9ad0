//! A bucket on a real server, which several hosts share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use store_testkit::faults::{Fault, FaultProxy, Kind, Requests, Script, Seen};
use store_testkit::servers::{Bucket, Running, S3sFs, for_test};

use crate::host::{Host, Said, python_image};

/// Hosts that share a bucket, and the server that has it.
struct Shared {
    bucket: Bucket,
    _server: Running,
    dir: tempfile::TempDir,
}

impl Shared {
    /// `None` where servers need not be had, which the test says.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let server = for_test(&S3sFs, dir.path())?;
        Some(Self {
            bucket: server.make_bucket("shared").unwrap(),
            _server: server,
            dir,
        })
    }

    /// The command line on `host`, with the base images in `images`.
    fn snaptier(&self, host: &Host, images: &Path, args: &[&str]) -> Command {
        let mut command = host.snaptier_with_images(images, args);
        command
            .envs(self.bucket.environment())
            .env("SNAPTIER_REMOTE", self.bucket.remote_uri("team"));
        command
    }

    fn says(&self, host: &Host, args: &[&str]) -> Said {
        Said::of(self.snaptier(host, python_image(), args))
    }

    fn json(&self, host: &Host, args: &[&str]) -> Value {
        let said = self.says(host, &[args, &["--json"]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// The base images, at a place of their own.
    fn images_elsewhere(&self) -> PathBuf {
        let elsewhere = self.dir.path().join("images of another host");
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .args([python_image(), &elsewhere])
            .status();
        assert!(copied.unwrap().success());
        elsewhere
    }
}

#[test]
fn hosts_with_base_images_at_different_paths_boot_what_the_other_built() {
    let Some(shared) = Shared::new() else { return };
    let (here, there) = (Host::new(), Host::new());
    let elsewhere = shared.images_elsewhere();
    let hosts = [(&here, python_image()), (&there, elsewhere.as_path())];
    for (package, [builder, other]) in [("six==1.16.0", hosts), ("idna==3.7", [hosts[1], hosts[0]])]
    {
        let get = ["get", "python", package, "--json"];
        let source = |(host, images)| {
            let said = Said::of(shared.snaptier(host, images, &get));
            let answer: Value = serde_json::from_str(said.answer()).unwrap();
            answer["source"].clone()
        };
        assert_eq!(source(builder), "built");
        assert_eq!(source(other), "l3-remote");
        let (module, version) = package.split_once("==").unwrap();
        let print = format!("import {module}; print({module}.__version__)");
        let run = [
            "-q", "run", "python", package, "--", "python3", "-c", &print,
        ];
        let said = Said::of(shared.snaptier(other.0, other.1, &run));
        assert_eq!(said.answer(), version);
    }
}

#[test]
fn a_snapshot_is_pushed_listed_looked_at_verified_pulled_and_removed() {
    let Some(shared) = Shared::new() else { return };
    let host = Host::new();
    let six = ["python", "six==1.16.0"];
    let built = host.json(&[&["get"], &six[..]].concat());
    let key = built["key"].as_str().unwrap();

    let none = shared.json(&host, &["remote", "ls"]);
    assert_eq!(none, json!({ "entries": [] }));
    let absent = shared.says(&host, &[&["pull"], &six[..]].concat());
    assert_eq!(absent.code, Some(7), "{absent:?}");

    assert_eq!(
        shared.json(&host, &["push", key]),
        json!({ "pushed": [key] })
    );
    let listed = shared.json(&host, &["remote", "ls"]);
    assert_eq!(listed["entries"][0]["key"], key);
    let looked_at = shared.json(&host, &["remote", "stat", key]);
    assert_eq!(looked_at["manifest"]["spec"], built["spec"]);
    let sound = json!({ "entries": [{ "key": key, "result": "sound", "why": null }] });
    assert_eq!(shared.json(&host, &["remote", "verify", key]), sound);

    let disk = fs::read(built["path"].as_str().unwrap()).unwrap();
    host.says(&["rm", key]).answer();
    let pulled = shared.json(&host, &[&["pull"], &six[..]].concat());
    assert_eq!(pulled["path"], built["path"]);
    assert!(fs::read(built["path"].as_str().unwrap()).unwrap() == disk);

    // What is damaged in the bucket is told, and with which object.
    let object = format!("team/snapshots/{key}.qcow2.zst");
    let mut bytes = shared.bucket.get(&object).unwrap().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    shared.bucket.put(&object, bytes).unwrap();
    let told = shared.says(&host, &["remote", "verify", key]);
    assert_eq!(told.code, Some(6), "{told:?}");
    assert!(told.stdout.contains("unusable"), "{told:?}");

    let removed = shared.json(&host, &["remote", "rm", key]);
    assert_eq!(removed, json!({ "removed": [key] }));
    let gone = shared.says(&host, &["-q", "remote", "stat", key]);
    assert_eq!(gone.code, Some(7), "{gone:?}");
    assert!(gone.stderr.contains(key), "{gone:?}");
}

#[test]
fn an_upload_that_is_interrupted_is_whole_or_forgotten_and_leaves_no_part_in_the_bucket() {
    let Some(shared) = Shared::new() else { return };
    let host = Host::new();
    // More than one part, compressed.
    let numpy = host.json(&["get", "python", "numpy==2.1.0"]);
    let key = numpy["key"].as_str().unwrap();
    // Slow enough that the parts are under way when it is interrupted.
    let script = Script::new(1).on(
        Requests::of(Kind::UploadPart).for_ever(),
        Fault::Delay(Duration::from_secs(3)),
    );
    let proxy = FaultProxy::start(&shared.bucket.endpoint, script).unwrap();
    let behind = shared.bucket.at(&proxy.endpoint());
    let mut push = host
        .snaptier(&["-q", "push", key])
        .envs(behind.environment())
        .env("SNAPTIER_REMOTE", behind.remote_uri("team"))
        .spawn()
        .unwrap();
    let in_its_midst = |seen: &[Seen]| {
        let parts = seen.iter().filter(|seen| seen.kind == Kind::UploadPart);
        parts.count() >= 2
    };
    assert!(proxy.wait_until(Duration::from_secs(60), in_its_midst));
    kill_process(Pid::from_child(&push), Signal::INT).unwrap();
    assert_eq!(push.wait().unwrap().code(), Some(130));
    // One that was all sent is made to its end, and any other one forgotten.
    let (whole, forgotten) = (
        proxy.count(Kind::CompleteMultipart),
        proxy.count(Kind::AbortMultipart),
    );
    assert_eq!(whole + forgotten, 1);
    let listed = shared.json(&host, &["remote", "ls"]);
    assert_eq!(listed["entries"].as_array().unwrap().len(), whole);
}

#[test]
fn the_rules_by_which_snapshots_expire_are_printed_for_the_bucket() {
    let host = Host::new();
    let rules = host.json(&[
        "--remote",
        "s3://b/team?region=r",
        "remote",
        "lifecycle",
        "--ttl-days",
        "7",
    ]);
    let rule = &rules["Rules"][0];
    assert_eq!(rule["Expiration"]["Days"], 7);
    assert_eq!(rule["Filter"]["Prefix"], "team/snapshots/");
    let said = host.says(&["--remote", &host.remote(), "remote", "lifecycle"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn seed_11_without_a_store_the_remote_cache_is_disabled_and_says_how_to_name_one() {
    let said = Host::new().says(&["remote", "ls"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stderr.contains("remote cache is disabled") && said.stderr.contains("--remote"),
        "{said:?}"
    );
}
