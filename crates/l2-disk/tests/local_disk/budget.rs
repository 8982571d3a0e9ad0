//! What has to go when there is not room for all.

use std::fs;
use std::time::{Duration, SystemTime};

use cache_layer::{CacheLayer, LayerErrorKind};
use l2_disk::{Budget, Entry};

use crate::host::Host;

const PACKAGES: [&str; 4] = ["a==1", "b==1", "c==1", "d==1"];

fn at_most(bytes: u64) -> Budget {
    Budget {
        max_bytes: Some(bytes),
        min_free_bytes: 0,
    }
}

/// What one entry takes.
async fn entry_bytes() -> u64 {
    let host = Host::new();
    host.put(PACKAGES[0]).await;
    host.layer.entries().await.unwrap()[0].disk_bytes
}

/// The packages that are still there, in the order in which they came.
fn there(host: &Host) -> Vec<&'static str> {
    let is_there = |package: &&str| host.entry_of(package).exists();
    PACKAGES.into_iter().filter(is_there).collect()
}

#[tokio::test]
async fn seed_10_evicting_takes_the_least_recently_used_entry_and_leaves_the_newer_one() {
    let host = Host::new();
    for package in &PACKAGES[..2] {
        host.put(package).await;
    }
    let room_for_one = at_most(entry_bytes().await);
    let done = host.layer.collect(room_for_one).await.unwrap();
    assert_eq!(done.evicted.len(), 1);
    assert_eq!(there(&host), ["b==1"]);
    assert!(host.get_of("b==1").await.is_hit());
    let sidecar = host.entry_of("a==1").with_extension("json");
    assert!(!sidecar.exists());
}

#[tokio::test]
async fn a_hit_is_a_use_whatever_the_file_system_records() {
    let host = Host::with_budget(at_most(entry_bytes().await * 3));
    for package in &PACKAGES[..3] {
        host.put(package).await;
    }
    drop(host.get_of("a==1").await);
    host.put("d==1").await;
    assert_eq!(there(&host), ["a==1", "c==1", "d==1"]);
}

#[tokio::test]
async fn a_use_in_the_future_is_no_use_for_ever() {
    let host = Host::new();
    for package in &PACKAGES[..2] {
        host.put(package).await;
    }
    let sidecar = fs::File::options()
        .write(true)
        .open(host.entry_of("a==1").with_extension("json"));
    let tomorrow = SystemTime::now() + Duration::from_hours(24);
    sidecar.unwrap().set_modified(tomorrow).unwrap();
    let done = host.layer.collect(at_most(0)).await.unwrap();
    assert_eq!(done.evicted.len(), 2);
}

#[tokio::test]
async fn what_is_in_use_stays_and_the_next_one_goes_in_its_place() {
    let host = Host::new();
    let held = host.put("a==1").await;
    for package in &PACKAGES[1..] {
        host.put(package).await;
    }
    let one = entry_bytes().await;
    let planned = host.layer.plan_collection(at_most(one * 3)).await.unwrap();
    let done = host.layer.collect(at_most(one * 3)).await.unwrap();
    assert_eq!(done, planned);
    assert_eq!(there(&host), ["a==1", "c==1", "d==1"]);

    let done = host.layer.collect(at_most(0)).await.unwrap();
    assert_eq!(there(&host), ["a==1"]);
    assert_eq!((done.kept, done.shortfall), (1, done.kept_bytes));
    drop(held);
    host.layer.collect(at_most(0)).await.unwrap();
    assert_eq!(there(&host), [] as [&str; 0]);
}

#[tokio::test]
async fn an_entry_larger_than_the_budget_is_refused_clearly_and_evicts_nothing() {
    let one = entry_bytes().await;
    let host = Host::with_budget(at_most(one / 2));
    let unlimited = host.layer.clone().with_budget(Budget::default());
    let there_before = host.disks.staged(&unlimited, "a==1");
    unlimited.put(&there_before).await.unwrap();
    let new = host.disks.staged(&host.layer, "b==1");
    let error = host.layer.put(&new).await.unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::OutOfSpace);
    let said = error.to_string();
    assert!(
        said.contains("more than the") && said.contains("larger maximum"),
        "{said}"
    );
    assert_eq!(there(&host), ["a==1"]);
}

#[tokio::test]
async fn an_entry_for_which_nothing_can_go_is_refused_and_nothing_goes() {
    let host = Host::with_budget(at_most(entry_bytes().await * 2));
    let _held = (host.put("a==1").await, host.put("b==1").await);
    let new = host.disks.staged(&host.layer, "c==1");
    let error = host.layer.put(&new).await.unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::OutOfSpace);
    assert!(error.to_string().contains("not in use"), "{error}");
    assert_eq!(there(&host), ["a==1", "b==1"]);
}

#[tokio::test]
async fn more_than_is_free_can_be_asked_to_stay_free_and_then_everything_unused_goes() {
    let host = Host::new();
    for package in PACKAGES {
        host.put(package).await;
    }
    let budget = Budget {
        max_bytes: None,
        min_free_bytes: u64::MAX / 2,
    };
    let done = host.layer.collect(budget).await.unwrap();
    assert_eq!(done.evicted.len(), 4);
    assert!(done.shortfall > 0);
}

#[tokio::test]
async fn a_plan_changes_nothing_and_is_what_is_done() {
    let host = Host::new();
    for package in PACKAGES {
        host.put(package).await;
    }
    let budget = at_most(entry_bytes().await * 2);
    let planned = host.layer.plan_collection(budget).await.unwrap();
    assert_eq!(there(&host), PACKAGES);
    let done = host.layer.collect(budget).await.unwrap();
    assert_eq!(done, planned);
    assert_eq!(there(&host), ["c==1", "d==1"]);
    let keys = |entries: &[Entry]| {
        entries
            .iter()
            .map(|entry| entry.key.clone())
            .collect::<Vec<_>>()
    };
    let mut left = keys(&host.layer.entries().await.unwrap());
    left.reverse();
    assert_eq!(
        left,
        [host.disks.spec("c==1").key(), host.disks.spec("d==1").key()]
    );
}

#[tokio::test]
async fn collecting_sweeps_manifests_that_stand_alone() {
    let host = Host::new();
    host.put("a==1").await;
    host.put("b==1").await;
    fs::remove_file(host.entry_of("a==1")).unwrap();
    host.layer.collect(Budget::default()).await.unwrap();
    assert_eq!(
        host.names(".")
            .iter()
            .filter(|name| name.ends_with(".json"))
            .count(),
        1
    );
    assert!(host.get_of("b==1").await.is_hit());
}
