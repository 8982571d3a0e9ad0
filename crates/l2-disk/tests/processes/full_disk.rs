//! A disk that is full: a file system of a few MiB, in memory, of the child's own.

use std::process::Command;

use cache_layer::{CacheLayer, Lookup};
use l2_disk::DiskLayer;

use crate::child::{self, Child, is_whole};
use crate::host::{Host, names};

/// Room for some six of our snapshots.
const SIZE: &str = "8m";
const PUTS: usize = 20;

pub(crate) fn evicts() {
    on_a_small_disk("fill");
}

pub(crate) fn refuses() {
    on_a_small_disk("fill-in-use");
}

fn on_a_small_disk(action: &str) {
    let host = Host::new();
    let root = host.dir.path().join("small");
    std::fs::create_dir(&root).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size={SIZE} none \"$2\" && exec \"$0\" child \"$1\" \"$2\" \"$3\""
    );
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount])
        .arg(std::env::current_exe().unwrap())
        .args(&child::arguments(action, &root, host.dir.path())[1..])
        .status();
    assert!(status.expect("unshare is installed").success(), "{action}");
}

/// Stores far more than there is room for.
pub(crate) fn fill(child: &Child) {
    let layer = child.layer();
    for number in 0..PUTS {
        let stored = child.put_elsewhere(&package(number)).unwrap();
        assert!(is_whole(&stored), "{number}");
    }
    let there: Vec<_> = (0..PUTS)
        .filter(|&number| hit(child, &layer, number))
        .collect();
    // The newest ones, without a gap.
    assert!((2..PUTS).contains(&there.len()), "{there:?}");
    let newest: Vec<_> = (PUTS - there.len()..PUTS).collect();
    assert_eq!(there, newest);
    nothing_left(child);
}

/// Stores until everything that is there is in use.
pub(crate) fn fill_in_use(child: &Child) {
    let layer = child.layer();
    let mut held = Vec::new();
    let error = loop {
        match child.put_elsewhere(&package(held.len())) {
            Ok(stored) => held.push(stored),
            Err(error) => break error,
        }
        assert!(held.len() < PUTS, "the disk is larger than it should be");
    };
    assert!(error.starts_with("out-of-space: "), "{error}");
    assert!(
        error.contains("is full") && error.contains("not in use"),
        "{error}"
    );
    for (number, snapshot) in held.iter().enumerate() {
        assert!(is_whole(snapshot) && hit(child, &layer, number));
    }
    assert!(!hit(child, &layer, held.len()));
    nothing_left(child);
    // When one is let go, there is room for another.
    let number = held.len();
    held.swap_remove(0);
    drop(child.put_elsewhere(&package(number)).unwrap());
    assert!(hit(child, &layer, number) && !hit(child, &layer, 0));
}

fn package(number: usize) -> String {
    format!("a=={number}")
}

fn hit(child: &Child, layer: &DiskLayer, number: usize) -> bool {
    let spec = child.disks.spec(&package(number));
    let looked = layer.get(&spec, layer.staging().unwrap());
    match child.runtime.block_on(looked).unwrap() {
        Lookup::Hit(snapshot) => is_whole(&snapshot),
        Lookup::Miss => false,
    }
}

fn nothing_left(child: &Child) {
    assert_eq!(names(&child.root.join(".changing")), [] as [&str; 0]);
    for process in names(&child.root.join(".staging")) {
        assert_eq!(names(&child.root.join(".staging").join(process)), ["owner"]);
    }
}
