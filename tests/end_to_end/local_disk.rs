//! What people do with the snapshots on their disk.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use serde_json::json;

use crate::host::Host;

/// A host with one snapshot, and its key.
fn with_a_snapshot() -> (Host, String) {
    let host = Host::new();
    let key = host.json(&["get", "python"])["key"]
        .as_str()
        .unwrap()
        .to_owned();
    (host, key)
}

#[test]
fn a_snapshot_is_listed_verified_planned_to_go_and_removed() {
    let (host, key) = with_a_snapshot();
    let listed = host.json(&["ls"]);
    let entry = &listed["entries"][0];
    assert_eq!(entry["key"], key.as_str());
    assert_eq!(entry["disk_bytes"], listed["disk_bytes"]);
    assert_eq!(entry["manifest"]["key"], key.as_str());
    assert!(host.says(&["ls"]).answer().contains(&key));

    let verified = host.json(&["verify", "--all"]);
    let sound = json!([{ "key": key, "result": "sound", "why": null }]);
    assert_eq!(verified["entries"], sound);

    let planned = host.json(&["gc", "--max-size", "0", "--dry-run"]);
    assert_eq!(planned["evicted"][0]["key"], key.as_str());
    assert_eq!(planned["kept"], 0);
    assert_eq!(host.entries().len(), 2, "a dry run changed something");

    assert_eq!(host.json(&["rm", &key]), json!({ "removed": [key] }));
    assert_eq!(host.entries(), [] as [&str; 0]);
    assert_eq!(host.says(&["rm", &key]).answer(), key);
}

#[test]
fn collecting_evicts_what_there_is_no_room_for() {
    let (host, key) = with_a_snapshot();
    let said = host.says(&["gc"]);
    assert!(said.answer().starts_with("EVICTED"), "{said:?}");
    assert!(said.stderr.contains("no limit is set"), "{said:?}");
    assert_eq!(host.entries().len(), 2);
    let done = host.json(&["--max-size", "1kB", "gc"]);
    assert_eq!(done["evicted"][0]["key"], key.as_str());
    assert_eq!(done["shortfall_bytes"], 0);
    assert_eq!(host.entries(), [] as [&str; 0]);
}

#[test]
fn a_snapshot_that_rotted_is_told_with_an_exit_code_of_its_own() {
    let (host, key) = with_a_snapshot();
    let disk = host.cache_dir().join(format!("{key}.qcow2"));
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().write(true).open(&disk).unwrap();
    // In the space between the header and the tables.
    file.write_all_at(b"rot", 0x8000).unwrap();
    let said = host.says(&["verify", &key]);
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(
        said.stdout
            .contains("its bytes are not those of its manifest"),
        "{said:?}"
    );
    assert_eq!(host.entries(), [] as [&str; 0]);
    let said = host.says(&["-q", "verify", &key]);
    assert_eq!(said.code, Some(7), "{said:?}");
    assert!(said.stderr.starts_with("error: there is no snapshot"));
}

#[test]
fn a_snapshot_larger_than_the_limit_is_not_kept_and_the_limit_is_named() {
    let host = Host::new();
    let said = host.says(&["--max-size", "10kB", "get", "python"]);
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(said.stderr.contains("larger maximum"), "{said:?}");
    assert_eq!(host.entries(), [] as [&str; 0]);
}

#[test]
fn what_is_no_key_or_no_size_is_named() {
    let host = Host::new();
    let said = host.says(&["rm", "../../etc/passwd"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.stderr
            .contains("`../../etc/passwd` is not a cache key")
    );
    let said = host.says(&["--max-size", "lots", "ls"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("500MB or 20GiB"), "{said:?}");
}
