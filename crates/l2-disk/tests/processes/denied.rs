//! Files and directories that a process may not use as it would like.
//!
//! The child is in a user namespace of its own: whoever runs the test, it has no more rights than the owner of
//! the files, and root's privilege to read and write everything least of all.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tokio::runtime::Runtime;

use crate::child::{self, DONE, REFUSED};
use crate::host::Host;

const PACKAGE: &str = "a==1";

fn with_an_entry() -> Host {
    let host = Host::new();
    drop(Runtime::new().unwrap().block_on(host.put(PACKAGE)));
    host
}

fn unprivileged(action: &str, host: &Host) -> Output {
    let output = Command::new("unshare")
        .arg("--user")
        .arg(std::env::current_exe().unwrap())
        .args(child::arguments(action, host.layer.root(), host.dir.path()))
        .output();
    output.expect("unshare is installed")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn assert_said(output: &Output, code: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(said.contains(words), "{said}");
}

pub(crate) fn directory() {
    let host = with_an_entry();
    for dir in ["", ".staging", ".changing", ".locks"] {
        set_mode(&host.layer.root().join(dir), 0o555);
    }
    let outputs = ["get", "put", "remove"].map(|action| unprivileged(action, &host));
    for dir in ["", ".staging", ".changing", ".locks"] {
        set_mode(&host.layer.root().join(dir), 0o755);
    }
    assert_all_but_hits_are_denied(&outputs);
    assert!(host.entry_of(PACKAGE).exists());
}

pub(crate) fn file_system() {
    let host = with_an_entry();
    let read_only = "mount --bind \"$2\" \"$2\" && mount -o remount,bind,ro \"$2\" && exec \"$0\" child \"$1\" \"$2\" \"$3\"";
    let outputs = ["get", "put", "remove"].map(|action| {
        let output = Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                read_only,
            ])
            .arg(std::env::current_exe().unwrap())
            .args(&child::arguments(action, host.layer.root(), host.dir.path())[1..])
            .output();
        output.expect("unshare is installed")
    });
    assert_all_but_hits_are_denied(&outputs);
    assert!(host.entry_of(PACKAGE).exists());
}

fn assert_all_but_hits_are_denied([get, put, remove]: &[Output; 3]) {
    assert_said(get, DONE, "hit");
    assert_said(put, REFUSED, "denied: write to the cache directory");
    assert_said(remove, REFUSED, "denied: write to the cache directory");
}

pub(crate) fn entry() {
    let host = with_an_entry();
    set_mode(&host.entry_of(PACKAGE), 0o000);
    assert_said(
        &unprivileged("get", &host),
        REFUSED,
        "denied: look at the entry",
    );
    assert!(host.entry_of(PACKAGE).exists());
    set_mode(&host.entry_of(PACKAGE), 0o444);
    assert_said(&unprivileged("get", &host), DONE, "hit");
}
