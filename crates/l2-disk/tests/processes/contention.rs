//! Many processes in one directory.

use std::collections::BTreeMap;
use std::process::{Child as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_layer::{CacheLayer, LayerError, LayerErrorKind, Lookup};
use l2_disk::{Budget, DiskLayer};

use crate::child::{self, Child, is_whole};
use crate::host::{Disks, Host};
use crate::is_long;

const PROCESSES: u64 = 4;
const TASKS: u64 = 8;
const PACKAGES: u64 = 12;
/// Room for half of the packages.
const BUDGET: Budget = Budget {
    max_bytes: Some(8 << 20),
    min_free_bytes: 0,
};

pub(crate) fn test() {
    let host = Host::new();
    let seconds = if is_long() { "60" } else { "4" };
    let started: Vec<Process> = (0..PROCESSES)
        .map(|seed| {
            child::command("churn", host.layer.root(), host.dir.path())
                .args([&seed.to_string(), seconds])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    for process in started {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        for line in said.lines() {
            let (what, count) = line.split_once(' ').unwrap();
            *counts.entry(what.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }
    println!("{counts:?}");
    for what in ["hits", "misses", "puts", "removals", "evictions"] {
        assert!(counts[what] > 0, "no {what} at all: {counts:?}");
    }
    for dir in [".changing", ".locks"] {
        assert_eq!(host.names(dir), [] as [&str; 0], "{dir}");
    }
    // That of this process's own layer.
    assert_eq!(host.names(".staging").len(), 1);
    assert!(!host.layer.root().join(".room").exists());
    let names = host.names(".");
    let disks = names.iter().filter(|name| name.ends_with(".qcow2")).count();
    let manifests = names.iter().filter(|name| name.ends_with(".json")).count();
    assert_eq!(disks, manifests, "{names:?}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entries = runtime.block_on(host.layer.entries()).unwrap();
    let held: u64 = entries.iter().map(|entry| entry.disk_bytes).sum();
    assert!(held <= BUDGET.max_bytes.unwrap(), "{held} bytes");
}

/// What one of the processes does.
pub(crate) fn churn(child: &Child, args: &[String]) {
    let [seed, seconds] = args else {
        panic!("a seed and a time are wanted");
    };
    let (seed, seconds): (u64, u64) = (seed.parse().unwrap(), seconds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let layer = child.layer().with_budget(BUDGET);
    let disks = Arc::new(child.disks.clone());
    let until = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (layer, disks) = (layer.clone(), disks.clone());
            runtime.spawn(async move {
                let mut counts = BTreeMap::new();
                let mut chance = (seed * TASKS + task + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                while Instant::now() < until {
                    chance ^= chance << 13;
                    chance ^= chance >> 7;
                    chance ^= chance << 17;
                    let what = step(&layer, &disks, chance).await;
                    *counts.entry(what).or_insert(0_u64) += 1;
                }
                counts
            })
        })
        .collect();
    for task in tasks {
        for (what, count) in runtime.block_on(task).unwrap() {
            println!("{what} {count}");
        }
    }
}

/// One thing that may happen, and what it came to.
async fn step(layer: &DiskLayer, disks: &Disks, chance: u64) -> &'static str {
    let package = format!("a=={}", chance % PACKAGES);
    match (chance >> 32) % 10 {
        0..4 => match layer.put(&disks.staged(layer, &package)).await {
            Ok(stored) => {
                assert!(is_whole(&stored));
                "puts"
            }
            Err(error) => expected(&error, LayerErrorKind::OutOfSpace, "not in use"),
        },
        4..8 => {
            let spec = disks.spec(&package);
            let staging = layer.staging().unwrap();
            match layer.get(&spec, staging).await.unwrap() {
                Lookup::Hit(hit) => {
                    assert_eq!(*hit.manifest().spec(), spec.canonical());
                    // By its name, as its user opens it: it must be there for as long as the hit is held.
                    assert!(is_whole(&hit));
                    tokio::time::sleep(Duration::from_millis(chance >> 40 & 7)).await;
                    assert!(is_whole(&hit));
                    "hits"
                }
                Lookup::Miss => "misses",
            }
        }
        8 => match layer.remove(&disks.spec(&package).key()).await {
            Ok(()) => "removals",
            Err(error) => {
                let kind = LayerErrorKind::Unavailable { temporary: true };
                expected(&error, kind, "in use")
            }
        },
        _ => {
            let half = Budget {
                max_bytes: Some(4 << 20),
                min_free_bytes: 0,
            };
            match layer.collect(half).await.unwrap().evicted.len() {
                0 => "collections of nothing",
                _ => "evictions",
            }
        }
    }
    .split(' ')
    .next()
    .unwrap_or_default()
}

fn expected(error: &LayerError, kind: LayerErrorKind, words: &str) -> &'static str {
    assert!(
        error.kind() == kind && error.to_string().contains(words),
        "{error:?}"
    );
    "refusals"
}
