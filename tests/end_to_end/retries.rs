//! Builds that fail for a passing reason, in real guests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cache_key::{Language, PackageSet};
use cache_layer::{Phase, ProgressEvent, ProgressSink, Subject};
use rustix::process::{Pid, Signal, kill_process};
use snaptier::{Settings, SnapshotCache};
use vm_builder::network::Upstream;

use crate::host::{Host, python_image};
use crate::host_proxy::{Gate, HostProxy};

/// Notes what is told of a build, and acts on it.
struct Watcher {
    told: Mutex<Vec<String>>,
    act: Box<dyn Fn(ProgressEvent<'_>) + Send + Sync>,
}

impl Watcher {
    fn new(act: impl Fn(ProgressEvent<'_>) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            told: Mutex::default(),
            act: Box::new(act),
        })
    }

    /// The phases that began and what was said of retries.
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl ProgressSink for Watcher {
    fn report(&self, _subject: Subject<'_>, event: ProgressEvent<'_>) {
        let told = match event {
            ProgressEvent::Started(phase) => Some(phase.to_string()),
            ProgressEvent::Retrying(retrying) if retrying.same_vm => Some("same VM".to_owned()),
            ProgressEvent::Retrying(_) => Some("new VM".to_owned()),
            _ => None,
        };
        self.told.lock().unwrap().extend(told);
        (self.act)(event);
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}

/// Builds through a proxy that is closed at first, and gives what was told and what came of the gate.
async fn build(
    host: &Host,
    act: impl Fn(&Gate, ProgressEvent<'_>) + Send + Sync + 'static,
) -> (Vec<String>, Arc<Gate>) {
    let proxy = HostProxy::closed().await;
    let gate = proxy.gate();
    let watched = gate.clone();
    let watcher = Watcher::new(move |event| act(&watched, event));
    let mut settings = Settings::in_dirs(host.cache_dir(), python_image()).unwrap();
    settings.upstream = Upstream::through(&proxy.url(), "").unwrap();
    let cache = SnapshotCache::builder()
        .settings(settings)
        .progress(watcher.clone())
        .build()
        .unwrap();
    let packages = PackageSet::parse(Language::Python, ["idna==3.7"]).unwrap();
    let answer = cache.get(&packages).await.unwrap();
    let resolved = &answer.snapshot.manifest().provenance().resolved;
    assert_eq!(resolved.len(), 1, "{resolved:?}");
    let tools = &answer.snapshot.manifest().provenance().tools;
    let tools: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(tools, ["qemu", "uv"]);
    (watcher.told(), gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_whose_network_fails_goes_on_in_the_same_machine_when_it_is_back() {
    let host = Host::new();
    let (told, gate) = build(&host, |gate, event| {
        if let ProgressEvent::Retrying(_) = event {
            gate.open();
        }
    })
    .await;
    assert_eq!(told, ["boot", "install", "same VM", "install", "shut down"]);
    assert!(gate.refused() > 0 && gate.passed() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_killed_midway_is_replaced_by_a_new_one() {
    let host = Arc::new(Host::new());
    let (watched, was_killed) = (host.clone(), AtomicBool::new(false));
    let (told, gate) = build(&host, move |gate, event| match event {
        ProgressEvent::Started(Phase::Install) if !was_killed.swap(true, Ordering::SeqCst) => {
            for machine in watched.machines() {
                let machine = Pid::from_raw(machine.cast_signed()).unwrap();
                kill_process(machine, Signal::KILL).unwrap();
            }
        }
        ProgressEvent::Retrying(_) => gate.open(),
        _ => {}
    })
    .await;
    assert_eq!(
        told,
        ["boot", "install", "new VM", "boot", "install", "shut down"]
    );
    assert!(gate.passed() > 0);
}
