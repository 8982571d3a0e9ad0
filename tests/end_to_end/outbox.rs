//! A store that is down when a snapshot is built, and up when the next command runs.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread::{sleep, spawn};
use std::time::Duration;

use jiff::Timestamp;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use store_testkit::servers::{Bucket, Running, S3sFs, for_test};

use crate::host::{Host, Said};

/// A host, and a bucket at an address where nothing listens until it comes up.
struct Scene {
    host: Host,
    bucket: Bucket,
    address: SocketAddr,
    /// Holds the port.
    closed: Option<OwnedFd>,
    _server: Running,
    _dir: tempfile::TempDir,
}

const PACKAGE: [&str; 3] = ["get", "python", "six==1.16.0"];

impl Scene {
    /// `None` where servers need not be had, which the test says.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let server = for_test(&S3sFs, dir.path())?;
        let closed = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&closed, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Some(Self {
            host: Host::new(),
            bucket: server.make_bucket("shared").unwrap(),
            address: getsockname(&closed).unwrap().try_into().unwrap(),
            closed: Some(closed),
            _server: server,
            _dir: dir,
        })
    }

    /// From now on, the bucket is at its address.
    fn come_up(&mut self) {
        let closed = self.closed.take().unwrap();
        listen(&closed, 16).unwrap();
        let server = self.bucket.endpoint.strip_prefix("http://").unwrap();
        let server: SocketAddr = server.parse().unwrap();
        let listener = TcpListener::from(closed);
        spawn(move || {
            for client in listener.incoming() {
                carry(&client.unwrap(), &TcpStream::connect(server).unwrap());
            }
        });
    }

    fn snaptier(&self, args: &[&str]) -> Command {
        let behind = self.bucket.at(&format!("http://{}", self.address));
        let mut command = self.host.snaptier(args);
        command
            .envs(behind.environment())
            .env("SNAPTIER_REMOTE", behind.remote_uri("team"));
        command
    }

    fn says(&self, args: &[&str]) -> Said {
        Said::of(self.snaptier(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        let said = self.says(&[args, &["--json"]].concat());
        serde_json::from_str(said.answer()).unwrap()
    }

    /// The uploads that are not over.
    fn pending(&self) -> Vec<Value> {
        let listed = self.json(&["outbox", "ls"]);
        listed["entries"].as_array().unwrap().clone()
    }

    fn has_object(&self, key: &str) -> bool {
        let object = format!("team/snapshots/{key}.qcow2.zst");
        self.bucket.get(&object).unwrap().is_some()
    }
}

/// Carries bytes both ways until both sides have closed.
fn carry(client: &TcpStream, server: &TcpStream) {
    for (from, to) in [(client, server), (server, client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        spawn(move || {
            // A side that is gone is closed, and so is the other then.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

/// Waits until the upload may be tried again.
fn wait_until_due(upload: &Value) {
    let due: Timestamp = upload["next_try"].as_str().unwrap().parse().unwrap();
    let wait = due.duration_since(Timestamp::now());
    sleep(Duration::try_from(wait).unwrap_or_default());
}

#[test]
fn what_a_store_that_was_down_did_not_get_the_next_command_uploads() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let said = scene.says(&[&PACKAGE[..], &["--json"]].concat());
    let built: Value = serde_json::from_str(said.answer()).unwrap();
    let key = built["key"].as_str().unwrap();
    assert_eq!(built["source"], "built");
    assert!(said.stderr.contains("snaptier outbox retry"), "{said:?}");

    let pending = scene.pending();
    assert_eq!(pending.len(), 1);
    assert_eq!(
        (&pending[0]["key"], &pending[0]["attempts"]),
        (&json!(key), &json!(1))
    );
    assert_eq!(pending[0]["last_error"]["kind"], "unavailable");
    let table = scene.says(&["outbox", "ls"]);
    for word in ["KEY", "NEXT TRY", key, "l3-remote(s3://shared/team?"] {
        assert!(table.answer().contains(word), "{table:?}");
    }

    scene.come_up();
    wait_until_due(&pending[0]);
    assert!(!scene.has_object(key));
    assert_eq!(scene.json(&PACKAGE)["source"], "l2-disk");
    assert!(scene.has_object(key));
    assert_eq!(scene.pending(), [] as [Value; 0]);
}

#[test]
fn a_process_that_is_killed_between_the_build_and_the_upload_is_healed_by_the_next_one() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let mut get = scene
        .snaptier(&[&["-q"], &PACKAGE[..], &["--json"]].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answer = String::new();
    let mut stdout = BufReader::new(get.stdout.take().unwrap());
    stdout.read_line(&mut answer).unwrap();
    kill_process(Pid::from_child(&get), Signal::KILL).unwrap();
    assert_eq!(get.wait().unwrap().code(), None, "it was still uploading");
    let built: Value = serde_json::from_str(&answer).unwrap();
    let key = built["key"].as_str().unwrap();
    let pending = scene.pending();
    assert_eq!(
        (&pending[0]["key"], &pending[0]["attempts"]),
        (&json!(key), &json!(0))
    );

    scene.come_up();
    assert_eq!(scene.json(&PACKAGE)["source"], "l2-disk");
    assert!(scene.has_object(key));
    assert_eq!(scene.pending(), [] as [Value; 0]);
}

#[test]
fn an_upload_is_made_now_or_forgotten_by_hand() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let built = scene.json(&PACKAGE);
    let key = built["key"].as_str().unwrap();
    let down = scene.says(&["outbox", "retry", "--json"]);
    assert_eq!(down.code, Some(4), "{down:?}");
    assert_eq!(scene.pending()[0]["attempts"], 2);

    scene.come_up();
    let made = scene.json(&["outbox", "retry", key]);
    assert_eq!(made, json!({ "over": [key], "left": [] }));
    assert!(scene.has_object(key));
    for command in ["retry", "drop"] {
        let said = scene.says(&["outbox", command, key]);
        assert_eq!(said.code, Some(7), "{said:?}");
    }
}

#[test]
fn an_upload_that_is_dropped_is_not_made_and_its_snapshot_stays() {
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let built = scene.json(&PACKAGE);
    let key = built["key"].as_str().unwrap();
    let dropped = scene.json(&["outbox", "drop", key]);
    assert_eq!(dropped, json!({ "dropped": [key] }));
    scene.come_up();
    assert_eq!(scene.json(&PACKAGE)["source"], "l2-disk");
    assert!(!scene.has_object(key));

    // By hand it is uploaded all the same.
    assert_eq!(scene.json(&["push", key]), json!({ "pushed": [key] }));
    assert!(scene.has_object(key));
    assert_eq!(scene.pending(), [] as [Value; 0]);
}
