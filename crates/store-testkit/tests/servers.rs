//! Every server, installed, started, used and stopped.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use store_testkit::servers::{
    Detached, FakeGcs, GcpStorageEmulator, Moto, Running, S3sFs, SeaweedFs, Shelf, Stopped,
    StoreServer, for_test,
};

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Not only the path of a word, but one that has to be encoded.
const OBJECT: &str = "snapshots/a b+c.zst";

fn it_stores_and_returns_an_object_and_leaves_no_process(server: &'static dyn StoreServer) {
    let dir = tempfile::tempdir().unwrap();
    let Some(running) = for_test(server, dir.path()) else {
        return;
    };
    let bucket = running.make_bucket("bucket").unwrap();
    running.make_bucket("bucket").unwrap();
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    assert_eq!(bucket.get(OBJECT).unwrap(), None);
    bucket.put(OBJECT, bytes.clone()).unwrap();
    assert!(bucket.get(OBJECT).unwrap() == Some(bytes));

    let pid = running.id();
    assert!(exists(pid));
    drop(running);
    assert!(!exists(pid));
    assert!(bucket.get(OBJECT).is_err());
}

#[test]
fn s3s_fs_stores_and_returns_an_object_and_leaves_no_process() {
    it_stores_and_returns_an_object_and_leaves_no_process(&S3sFs);
}

#[test]
fn seaweedfs_stores_and_returns_an_object_and_leaves_no_process() {
    it_stores_and_returns_an_object_and_leaves_no_process(&SeaweedFs);
}

#[test]
fn moto_stores_and_returns_an_object_and_leaves_no_process() {
    it_stores_and_returns_an_object_and_leaves_no_process(&Moto);
}

#[test]
fn fake_gcs_server_stores_and_returns_an_object_and_leaves_no_process() {
    it_stores_and_returns_an_object_and_leaves_no_process(&FakeGcs);
}

#[test]
fn gcp_storage_emulator_stores_and_returns_an_object_and_leaves_no_process() {
    it_stores_and_returns_an_object_and_leaves_no_process(&GcpStorageEmulator);
}

#[test]
fn a_server_that_checks_signatures_refuses_a_wrong_one() {
    for server in [&S3sFs as &dyn StoreServer, &SeaweedFs] {
        let dir = tempfile::tempdir().unwrap();
        let Some(running) = for_test(server, dir.path()) else {
            return;
        };
        let mut bucket = running.make_bucket("bucket").unwrap();
        bucket.keys.as_mut().unwrap().secret = "another".to_owned();
        let error = bucket.put("a", "b").unwrap_err().to_string();
        assert!(error.contains("SignatureDoesNotMatch"), "{error}");
    }
}

/// Set for a process that is to be a child of a test; says what it is to do it in.
const CHILD_DIR: &str = "STORE_TESTKIT_CHILD_DIR";

/// This test program again, running one test.
fn again(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped());
    command
}

#[test]
fn two_processes_that_install_at_once_both_succeed() {
    let test = "two_processes_that_install_at_once_both_succeed";
    if let Some(dir) = env::var_os(CHILD_DIR) {
        let program = Shelf::new(Path::new(&dir)).install(&GcpStorageEmulator);
        assert!(program.unwrap().is_file());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let children: Vec<_> = (0..2)
        .map(|_| again(test, dir.path()).spawn().unwrap())
        .collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }

    // A marker that is missing or tells of another place is an installation that is made anew.
    let installed = dir.path().join("gcp-storage-emulator-2026.7.19");
    let (program, marker) = (
        installed.join("bin/gcp-storage-emulator"),
        installed.join("installed-at"),
    );
    for break_off in [
        &(|| fs::remove_file(&marker).unwrap()) as &dyn Fn(),
        &|| fs::write(&marker, "/elsewhere").unwrap(),
    ] {
        break_off();
        fs::write(&program, "half").unwrap();
        Shelf::new(dir.path()).install(&GcpStorageEmulator).unwrap();
        assert_ne!(fs::read(&program).unwrap(), b"half");
    }
}

#[test]
fn a_server_dies_with_the_process_that_started_it() {
    let test = "a_server_dies_with_the_process_that_started_it";
    if let Some(dir) = env::var_os(CHILD_DIR) {
        let running = Running::start(&GcpStorageEmulator, Path::new(&dir)).unwrap();
        println!("\npid {}", running.id());
        // Until we are killed.
        loop {
            std::thread::park();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    if for_test(&GcpStorageEmulator, &dir.path().join("own")).is_none() {
        return;
    }
    let mut child = again(test, dir.path()).spawn().unwrap();
    let pid = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("pid ")?.parse().ok())
        .unwrap();
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut ended = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    let patience = rustix::event::Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    assert_eq!(rustix::event::poll(&mut ended, Some(&patience)).unwrap(), 1);
}

#[test]
fn a_detached_server_is_found_again_and_stopped_by_its_record() {
    let dir = tempfile::tempdir().unwrap();
    if for_test(&GcpStorageEmulator, &dir.path().join("own")).is_none() {
        return;
    }
    let shelf = Shelf::of_workspace();
    let server = Detached::start(&shelf, &GcpStorageEmulator, dir.path()).unwrap();
    let same = Detached::start(&shelf, &GcpStorageEmulator, dir.path()).unwrap();
    assert_eq!(server.id(), same.id());
    let bucket = same.make_bucket("bucket").unwrap();
    bucket.put("a", "b").unwrap();

    let record = dir.path().join("server.json");
    let kept = fs::read(&record).unwrap();
    let pid = server.id();
    assert_eq!(Detached::stop(dir.path()).unwrap(), Stopped::Now { pid });
    assert!(bucket.get("a").is_err());
    assert_eq!(Detached::stop(dir.path()).unwrap(), Stopped::Never);

    // A record of a process that has ended, and one whose process id has come round again to somebody else.
    fs::write(&record, &kept).unwrap();
    assert_eq!(Detached::stop(dir.path()).unwrap(), Stopped::Before);
    let own = String::from_utf8(kept).unwrap();
    let own = own.replace(&pid.to_string(), &std::process::id().to_string());
    fs::write(&record, own).unwrap();
    assert_eq!(Detached::stop(dir.path()).unwrap(), Stopped::Before);
}

#[test]
fn a_server_that_cannot_be_installed_is_told_with_a_remedy() {
    /// A package that is not there.
    #[derive(Debug)]
    struct Missing;

    impl StoreServer for Missing {
        fn name(&self) -> &'static str {
            "missing"
        }
        fn protocol(&self) -> store_testkit::servers::Protocol {
            store_testkit::servers::Protocol::S3
        }
        fn source(&self) -> store_testkit::servers::Source {
            store_testkit::servers::Source::Python {
                package: "moto",
                version: "0.0.0.0.1",
            }
        }
        fn program(&self, installed: &Path) -> std::io::Result<PathBuf> {
            Ok(installed.join("bin/missing"))
        }
        fn command(
            &self,
            program: &Path,
            _: &store_testkit::servers::Site,
        ) -> std::io::Result<Command> {
            Ok(Command::new(program))
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let error = Shelf::new(dir.path())
        .install(&Missing)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("install missing: `"), "{error}");
    assert!(error.contains("moto==0.0.0.0.1"), "{error}");
    assert!(
        error.ends_with("it needs a way to the package registry, for pip"),
        "{error}"
    );
}
