//! What all commands together have done.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::host::{Host, Said};

#[test]
fn a_miss_a_build_and_a_hit_of_processes_of_their_own_add_up_until_they_are_reset() {
    let host = Host::new();
    let nothing = host.says(&["stats"]);
    assert_eq!(nothing.answer(), "nothing has been counted");
    assert!(!host.cache_dir().exists());

    let built = host.json(&["get", "python"]);
    assert_eq!(built["source"], "built");
    let first = host.json(&["stats"]);
    assert_eq!(host.json(&["get", "python"])["source"], "l2-disk");

    let stats = host.json(&["stats"]);
    let (disk, builder) = (&stats["layers"][0], &stats["builder"]);
    assert_eq!(disk["name"], "l2-disk");
    assert_eq!((&disk["hits"], &disk["puts"]), (&json!(1), &json!(1)));
    // Before the key's lock was had, and with it.
    assert_eq!(disk["misses"], 2);
    assert_eq!(disk["get_latency"]["calls"], 3);
    assert_eq!(disk["bytes_served"], built["disk"]["file_bytes"]);
    assert_eq!(disk["bytes_stored"], built["disk"]["file_bytes"]);
    assert_eq!(
        (&builder["built"], &builder["latency"]["calls"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(stats["since"], first["since"]);
    let said = host.says(&["stats"]);
    for word in ["since 2", "TIER", "HITS", "l2-disk", "P99", "vm-builder"] {
        assert!(said.answer().contains(word), "{word}: {said:?}");
    }

    assert_eq!(host.json(&["stats", "--reset"]), stats);
    assert_eq!(host.json(&["stats"]), json!({ "since": null }));
    host.says(&["get", "python"]).answer();
    let stats = host.json(&["stats"]);
    let disk = &stats["layers"][0];
    assert_eq!((&disk["hits"], &disk["misses"]), (&json!(1), &json!(0)));
}

#[test]
fn a_build_that_was_interrupted_is_counted_as_cancelled() {
    let host = Host::new();
    let mut get = host
        .snaptier(&["get", "python", "idna==3.7"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its machine has booted, so that it installs now.
    let mut lines = BufReader::new(get.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(" boot took ")));
    kill_process(Pid::from_child(&get), Signal::INT).unwrap();
    lines.for_each(drop);
    assert_eq!(get.wait().unwrap().code(), Some(130));
    let stats = host.json(&["stats"]);
    assert_eq!(stats["builder"]["cancelled"], 1, "{stats}");
    assert_eq!(stats["builder"]["built"], 0);
}

#[test]
fn damaged_counters_are_set_aside_with_a_warning_and_are_no_error_of_the_command() {
    let host = Host::new();
    let got = host.json(&["get", "python"]);
    let counters = host.cache_dir().join(".stats.json");
    fs::write(&counters, "not JSON").unwrap();
    let said = host.says(&["get", "python"]);
    assert_eq!(said.answer(), got["path"].as_str().unwrap());
    assert!(said.stderr.contains("set aside"), "{said:?}");
    let aside = host.cache_dir().join(".stats.json.damaged");
    assert_eq!(fs::read_to_string(aside).unwrap(), "not JSON");
    assert_eq!(host.json(&["stats"])["layers"][0]["hits"], 1);
}

#[test]
fn a_directory_that_can_only_be_read_gives_hits_and_counts_nothing() {
    let host = Host::new();
    let got = host.json(&["get", "python"]);
    let counted = host.json(&["stats"]);
    let set_modes = |mode| {
        for dir in ["", ".staging", ".locks", ".changing", ".outbox"] {
            let dir = host.cache_dir().join(dir);
            fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set_modes(0o555);
    // In a user namespace of its own nobody has root's privilege to write everywhere.
    let get = host.snaptier(&["get", "python"]);
    let mut unprivileged = Command::new("unshare");
    unprivileged.arg("--user").arg(get.get_program());
    unprivileged.args(get.get_args());
    for (name, value) in get.get_envs() {
        match value {
            Some(value) => unprivileged.env(name, value),
            None => unprivileged.env_remove(name),
        };
    }
    let said = Said::of(unprivileged);
    set_modes(0o755);
    assert_eq!(said.answer(), got["path"].as_str().unwrap());
    assert!(
        said.stderr.contains("can be read and not written to"),
        "{said:?}"
    );
    assert!(!said.stderr.contains("count"), "{said:?}");
    assert_eq!(host.json(&["stats"]), counted);
}

#[test]
fn a_command_that_asks_no_tier_and_one_that_fails_before_it_does_count_nothing() {
    let host = Host::new();
    host.says(&["ls"]).answer();
    assert_eq!(host.says(&["get", "python", "six"]).code, Some(2));
    assert_eq!(host.says(&["explain", "python"]).code, Some(7));
    assert_eq!(host.json(&["stats"])["since"], Value::Null);
}
