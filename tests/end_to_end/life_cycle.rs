//! What a builder says when a machine does not do what it should: the phase, why, and what was said last.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base_image::ImageStore;
use cache_key::{Language, PackageSet, SnapshotSpec};
use cache_layer::{
    BuildError, BuildErrorKind, Phase, ProgressEvent, ProgressSink, SnapshotBuilder, Staging,
    Subject,
};
use rustix::process::{Pid, Signal, kill_process};
use snaptier::{Settings, guest_image};
use vm_builder::{Boot, GuestImage, Retries, TimeOuts, VmBuilder, VmHost, Vms};

use crate::host::{Host, python_image};

/// The error of a build, on a host whose machines are all gone when it is there.
async fn failure(
    change: impl FnOnce(&mut VmHost, &mut GuestImage),
    progress: Option<Arc<dyn ProgressSink>>,
    host: &Host,
) -> BuildError {
    let settings = Settings::in_dirs(host.cache_dir(), python_image()).unwrap();
    let mut vm_host = VmHost {
        upstream: settings.upstream,
        ca_bundle: settings.ca_bundle,
        // What is said of the first failure is what counts here.
        retries: Retries {
            most: 0,
            ..Retries::default()
        },
        ..VmHost::default()
    };
    let mut image = image().await;
    change(&mut vm_host, &mut image);
    let staging = Staging::open(&host.cache_dir()).unwrap();
    let packages = PackageSet::parse(Language::Python, ["requests==2.32.3"]).unwrap();
    let spec = SnapshotSpec::new(image.base.clone(), packages);
    let mut builder = VmBuilder::new(Vms::new(vm_host), [image]);
    if let Some(progress) = progress {
        builder = builder.with_progress(progress);
    }
    let error = builder.build(&spec, &staging).await.unwrap_err();
    assert_eq!(host.machines(), [] as [u32; 0], "{error}");
    drop(staging);
    assert_eq!(host.staged(), [] as [&str; 0], "{error}");
    error
}

async fn image() -> GuestImage {
    let store = ImageStore::new(python_image()).unwrap();
    let image = store.find(Language::Python).await.unwrap().unwrap();
    guest_image(&image)
}

#[tokio::test]
async fn each_phase_has_a_time_out_of_its_own_and_the_build_one_for_all() {
    let limits = TimeOuts::default();
    let (short, shorter) = (Duration::from_millis(100), Duration::from_millis(1));
    for (time_outs, message) in [
        (
            TimeOuts {
                boot: short,
                ..limits
            },
            "boot phase: it took longer than 0.1 s",
        ),
        (
            TimeOuts {
                install: short,
                ..limits
            },
            "install phase: it took longer than 0.1 s",
        ),
        (
            TimeOuts {
                shut_down: shorter,
                ..limits
            },
            "shut down phase: it took longer than 0.001 s",
        ),
        (
            TimeOuts {
                build: short,
                ..limits
            },
            "boot phase: the whole build took longer than 0.1 s",
        ),
    ] {
        let host = Host::new();
        let error = failure(|host, _| host.time_outs = time_outs, None, &host).await;
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(error.kind(), BuildErrorKind::Temporary);
    }
}

#[tokio::test]
async fn a_kernel_that_panics_is_known_at_once_with_what_it_said() {
    let host = Host::new();
    let panic = |_: &mut VmHost, image: &mut GuestImage| {
        if let Boot::Kernel { append, .. } = &mut image.boot {
            append.push_str(" rdinit=/nothing root=/dev/nothing");
        }
    };
    let error = failure(panic, None, &host).await;
    assert_eq!(
        error.to_string(),
        "boot phase: the VM died: the guest's kernel panicked or rebooted"
    );
    assert!(
        error.output().unwrap().contains("Kernel panic"),
        "{error:?}"
    );
}

/// Kills the machines of a host when the installer has said something.
#[derive(Debug)]
struct Killer {
    machines: Mutex<Vec<u32>>,
    host: Arc<Host>,
}

impl ProgressSink for Killer {
    fn report(&self, _subject: Subject<'_>, event: ProgressEvent<'_>) {
        match event {
            ProgressEvent::Started(Phase::Install) => {
                *self.machines.lock().unwrap() = self.host.machines();
            }
            ProgressEvent::InstallerLine(_) => {
                for machine in self.machines.lock().unwrap().drain(..) {
                    let machine = Pid::from_raw(machine.try_into().unwrap()).unwrap();
                    kill_process(machine, Signal::KILL).unwrap();
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_machine_that_dies_while_it_installs_is_known_at_once_with_what_the_installer_said() {
    let host = Arc::new(Host::new());
    let killer = Arc::new(Killer {
        machines: Mutex::default(),
        host: host.clone(),
    });
    let error = failure(|_, _| {}, Some(killer), &host).await;
    assert_eq!(
        error.to_string(),
        "install phase: the VM died: QEMU ended with signal: 9 (SIGKILL)"
    );
    assert_eq!(error.kind(), BuildErrorKind::Temporary);
    let said = error.output().unwrap();
    assert!(said.contains("Python 3"), "{said}");
}

#[tokio::test]
async fn a_machine_that_qemu_could_not_make_is_no_machine() {
    let host = Host::new();
    let error = failure(|host, _| host.memory_mib = 64, None, &host).await;
    assert_eq!(
        error.to_string(),
        "give a VM 64 MiB of memory: it takes between 256 and 1048576"
    );
    assert_eq!(error.kind(), BuildErrorKind::Host);
}

#[tokio::test]
async fn a_qemu_that_refuses_its_arguments_is_the_hosts_matter_and_not_tried_again() {
    let host = Host::new();
    let dir = tempfile::tempdir().unwrap();
    // QEMU need not run as whoever owns the folder.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let old = dir.path().join("qemu");
    fs::write(&old, "#!/bin/sh\necho 'invalid netdev type' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let retrying = |vm_host: &mut VmHost, _: &mut GuestImage| {
        vm_host.qemu = old;
        vm_host.retries = Retries::default();
    };
    let error = failure(retrying, None, &host).await;
    assert_eq!(error.kind(), BuildErrorKind::Host, "{error}");
    assert_eq!(
        error.to_string(),
        "boot phase: QEMU made no VM and ended with exit status: 1: `snaptier doctor` says what this host lacks"
    );
    assert_eq!(error.output(), Some("invalid netdev type"));
}

#[tokio::test]
async fn a_host_that_the_allowlist_lacks_is_named_with_the_way_to_allow_it() {
    let host = Host::new();
    let mut lacking = Vec::new();
    let nowhere = |_: &mut VmHost, image: &mut GuestImage| {
        lacking = std::mem::take(&mut image.registry_hosts);
    };
    let error = failure(nowhere, None, &host).await;
    assert_eq!(error.kind(), BuildErrorKind::Host, "{error}");
    let said = error.to_string();
    assert!(said.contains("`--allow-host`"), "{said}");
    let is_named = |lacks: &String| said.contains(&format!("`{lacks}`"));
    assert!(lacking.iter().any(is_named), "{said}");
}

#[tokio::test]
async fn a_build_whose_time_is_over_is_not_tried_again() {
    let host = Host::new();
    let progress = Arc::new(CountRetries::default());
    let short = |vm_host: &mut VmHost, _: &mut GuestImage| {
        vm_host.time_outs.build = Duration::from_millis(700);
        vm_host.retries = Retries {
            first_wait: Duration::from_millis(1),
            ..Retries::default()
        };
    };
    let error = failure(short, Some(progress.clone()), &host).await;
    assert!(
        error.to_string().contains("the whole build took longer"),
        "{error}"
    );
    assert_eq!(progress.0.load(Ordering::SeqCst), 0);
}

/// Counts the tries after the first.
#[derive(Debug, Default)]
struct CountRetries(AtomicUsize);

impl ProgressSink for CountRetries {
    fn report(&self, _: Subject<'_>, event: ProgressEvent<'_>) {
        if let ProgressEvent::Retrying(_) = event {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}
