//! From a package list to a disk that boots with the packages in it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use crate::host::Host;

const REQUESTS: [&str; 2] = ["python", "requests==2.32.3"];
const PRINT_VERSION: [&str; 4] = [
    "--",
    "python3",
    "-c",
    "import requests; print(requests.__version__)",
];

#[test]
fn seed_24_a_package_is_built_by_a_real_vm_and_asking_again_hits_l2_with_the_same_path() {
    let host = Host::new();
    let built = host.json(&[&["get"], &REQUESTS[..]].concat());
    assert_eq!(built["source"], "built");
    let path = built["path"].as_str().unwrap();
    assert!(
        path.ends_with(".qcow2") && fs::exists(path).unwrap(),
        "{path}"
    );
    assert_eq!(
        built["key"],
        host.says(&["key", "python", "Requests==2.32.3"]).answer()
    );
    let resolved = built["provenance"]["resolved"].as_array().unwrap();
    assert!(
        resolved
            .iter()
            .any(|package| package["name"] == "requests" && package["version"] == "2.32.3"),
        "{resolved:?}"
    );

    let again = host.json(&[&["get"], &REQUESTS[..]].concat());
    assert_eq!(again["source"], "l2-disk");
    assert_eq!(again["path"], built["path"]);
    assert_eq!(
        host.says(&[&["get"], &REQUESTS[..]].concat()).answer(),
        path
    );
    assert_eq!(host.staged(), [] as [&str; 0]);

    let said = host.says(&[&["run"], &REQUESTS[..], &PRINT_VERSION[..]].concat());
    assert_eq!(said.answer(), "2.32.3");
}

#[test]
fn a_snapshot_comes_back_from_the_remote_store_byte_by_byte_and_boots() {
    let host = Host::new();
    let remote = host.remote();
    let get = [&["--remote", &remote, "get"], &REQUESTS[..]].concat();
    let built = host.json(&get);
    assert_eq!(built["source"], "built");
    let path = built["path"].as_str().unwrap();
    let disk = fs::read(path).unwrap();

    fs::remove_dir_all(host.cache_dir()).unwrap();
    let fetched = host.json(&get);
    assert_eq!(fetched["source"], "l3-remote");
    assert_eq!(fetched["path"], built["path"]);
    assert!(fs::read(path).unwrap() == disk, "the disk is another one");
    assert_eq!(host.json(&get)["source"], "l2-disk");

    let said = host.says(&[&["run"], &REQUESTS[..], &PRINT_VERSION[..]].concat());
    assert_eq!(said.answer(), "2.32.3");
}

#[test]
fn a_command_gets_its_input_and_gives_its_output_and_its_exit_code() {
    let host = Host::new();
    let script = "cat; echo problem >&2; touch /written; exit 7";
    let mut command = host.snaptier(&["-q", "run", "python", "--", "sh", "-c", script]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than any buffer on the way holds.
    let input = "a line\n".repeat(200_000);
    let mut stdin = child.stdin.take().unwrap();
    let written = input.clone();
    let writer = std::thread::spawn(move || stdin.write_all(written.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert!(
        output.stdout == input.as_bytes(),
        "{} bytes came back",
        output.stdout.len()
    );
    assert_eq!(output.stderr, b"problem\n");

    let said = host.says(&["-q", "run", "python", "--", "ls", "/written"]);
    assert_ne!(
        said.code,
        Some(0),
        "a throw-away machine was not thrown away"
    );
}

#[test]
fn a_version_that_does_not_exist_is_told_in_the_installers_words_and_leaves_nothing() {
    let host = Host::new();
    let said = host.says(&["get", "python", "requests==99.99"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(said.stdout, "");
    assert!(
        said.stderr
            .contains("there is no version of requests==99.99"),
        "{said:?}"
    );
    assert!(
        said.stderr.ends_with("error: install requests==99.99\n"),
        "{said:?}"
    );
    assert_eq!(
        said.stderr.matches("boot took").count(),
        1,
        "it was tried again: {said:?}"
    );
    assert!(said.stderr.contains(": install failed after "), "{said:?}");
    assert_eq!((host.entries(), host.staged()), (vec![], vec![]));
}

#[test]
fn phases_that_did_their_work_are_told_from_those_that_failed() {
    let host = Host::new();
    let remote = host.remote();
    let get = ["--remote", &remote, "get", "python", "idna==3.7"];
    let assert_took = |args: &[&str], phases: &[&str]| {
        let said = host.says(args);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(!said.stderr.contains(" failed after "), "{said:?}");
        for phase in phases {
            assert!(
                said.stderr.contains(&format!(": {phase} took ")),
                "{said:?}"
            );
        }
    };
    assert_took(&get, &["boot", "install", "shut down", "upload"]);
    fs::remove_dir_all(host.cache_dir()).unwrap();
    assert_took(&get, &["download"]);
    assert_took(&["verify", "--all"], &["verify"]);

    let disk = PathBuf::from(host.says(&get).answer());
    OpenOptions::new()
        .append(true)
        .open(disk)
        .unwrap()
        .write_all(b"more")
        .unwrap();
    let said = host.says(&["verify", "--all"]);
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(said.stderr.contains(": verify failed after "), "{said:?}");
}
