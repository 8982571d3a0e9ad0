//! A build that fails or is interrupted, however and whenever, leaves no machine, no socket and no file.
//!
//! `SNAPTIER_LONG_TESTS=1` makes the long form: 100 moments for each kind of interruption. The moments follow from a
//! seed, which is printed; `SNAPTIER_SEED` gives it.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cache_key::{Language, PackageSet};
use rustix::process::{Pid, Signal, kill_process};
use snaptier::{Settings, SnapshotCache};

use crate::host::{Host, python_image};

const PACKAGE: &str = "idna==3.7";
/// Longer than a build takes, so that some of the moments come after its end.
const LONGEST_BUILD: Duration = Duration::from_secs(9);
/// A machine that was never killed would run for as long as its install takes, and then be gone by itself.
const SOON: Duration = Duration::from_secs(30);

/// How often each kind of interruption is tried.
fn tries() -> usize {
    let is_long = std::env::var_os("SNAPTIER_LONG_TESTS").is_some_and(|value| value == "1");
    if is_long { 100 } else { 2 }
}

/// Moments of a build, by chance.
#[expect(
    clippy::print_stdout,
    reason = "a failure can be had again by its seed"
)]
fn moments(what: &str) -> impl Iterator<Item = Duration> {
    let given = std::env::var("SNAPTIER_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("{what}: SNAPTIER_SEED={seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    (0..tries()).map(move |_| LONGEST_BUILD.mul_f64(chance.f64()))
}

pub(crate) fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < SOON, "waited for {what} for too long");
        sleep(Duration::from_millis(20));
    }
}

/// Starts a build in a process of its own.
fn build(host: &Host) -> Child {
    host.snaptier(&["-q", "get", "python", PACKAGE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends the signal at that moment, if the process has not ended by then, and gives the exit code, if it ended by
/// itself.
fn signal_at(process: &mut Child, moment: Duration, signal: Signal) -> Option<i32> {
    sleep(moment);
    // Nobody has waited for it yet, so the number is still its own.
    kill_process(Pid::from_child(process), signal).unwrap();
    process.wait().unwrap().code()
}

/// The whole entry, or none, and nothing else.
fn assert_clean(host: &Host, when: &str) {
    assert_eq!(host.machines(), [] as [u32; 0], "{when}");
    assert_eq!(host.staged(), [] as [&str; 0], "{when}");
    let entries = host.entries();
    assert!([0, 2].contains(&entries.len()), "{when}: {entries:?}");
    assert_eq!(sockets(&host.cache_dir()), [] as [PathBuf; 0], "{when}");
    assert_eq!(groups_of_the_dead(), [] as [PathBuf; 0], "{when}");
}

fn sockets(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let found = entries.flat_map(|entry| {
        let (kind, path) = (entry.file_type().unwrap(), entry.path());
        if kind.is_dir() {
            sockets(&path)
        } else {
            Vec::from_iter(kind.is_socket().then_some(path))
        }
    });
    found.collect()
}

/// The control groups, wherever they are, whose maker no longer lives.
fn groups_of_the_dead() -> Vec<PathBuf> {
    fn below(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name().into_string().unwrap_or_default();
                let maker = name
                    .strip_prefix("snaptier-")
                    .and_then(|it| it.split_once('-'));
                if maker.is_some_and(|(maker, _)| !Path::new("/proc").join(maker).exists()) {
                    found.push(path.clone());
                }
                below(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), &mut found);
    found
}

#[test]
fn a_signal_to_stop_ends_the_machine_and_empties_staging() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let host = Host::new();
        let mut process = build(&host);
        wait_for("a machine", || host.machines().first().copied());
        assert_eq!(signal_at(&mut process, Duration::ZERO, signal), Some(code));
        // Already: whoever sees the exit code sees a clean host.
        assert_clean(&host, "with a machine");
        assert_eq!(host.entries(), [] as [&str; 0]);
    }
}

#[test]
fn a_signal_to_stop_at_any_moment_leaves_nothing() {
    for (signal, code, name) in [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM")] {
        for moment in moments(name) {
            let host = Host::new();
            let ended = signal_at(&mut build(&host), moment, signal);
            let when = format!("{name} after {moment:?}");
            // Before it listens for signals, they just kill it.
            assert!(
                [None, Some(code), Some(0)].contains(&ended),
                "{when}: {ended:?}"
            );
            assert_clean(&host, &when);
        }
    }
}

#[test]
fn a_killed_process_takes_its_machine_along_and_the_next_one_sweeps_staging() {
    let host = Host::new();
    let mut process = build(&host);
    wait_for("a machine", || host.machines().first().copied());
    assert_eq!(signal_at(&mut process, Duration::ZERO, Signal::KILL), None);
    wait_for("the machine's end", || {
        host.machines().is_empty().then_some(())
    });
    assert_ne!(
        host.staged(),
        [] as [&str; 0],
        "nothing was there to be swept"
    );
    // Any use of the cache opens it.
    assert_eq!(host.says(&["gc"]).code, Some(0));
    assert_clean(&host, "with a machine");
}

#[test]
fn a_process_that_is_killed_at_any_moment_leaves_nothing_that_the_next_one_does_not_sweep() {
    for moment in moments("SIGKILL") {
        let host = Host::new();
        signal_at(&mut build(&host), moment, Signal::KILL);
        wait_for("the machine's end", || {
            host.machines().is_empty().then_some(())
        });
        assert_eq!(host.says(&["gc"]).code, Some(0));
        assert_clean(&host, &format!("SIGKILL after {moment:?}"));
    }
}

#[test]
fn a_future_that_is_dropped_at_any_moment_leaves_nothing() {
    for moment in moments("cancellation") {
        let host = Host::new();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let get = get(&host);
            // That the time was long enough is no fault.
            drop(tokio::time::timeout(moment, get).await);
        });
        // The runtime still runs: nothing but the drop has ended the machine.
        wait_for("the machine's end", || {
            host.machines().is_empty().then_some(())
        });
        wait_for("the end of staging", || {
            host.staged().is_empty().then_some(())
        });
        assert_clean(&host, &format!("dropped after {moment:?}"));
        drop(runtime);
    }
}

#[test]
fn a_caller_that_panics_while_a_machine_runs_leaves_nothing() {
    for moment in moments("panic") {
        let host = Host::new();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let is_done = runtime.block_on(async {
            let get = get(&host);
            let caller = async move {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(moment) => panic!("on purpose"),
                    () = get => {}
                }
            };
            tokio::spawn(caller).await.is_ok()
        });
        wait_for("the machine's end", || {
            host.machines().is_empty().then_some(())
        });
        wait_for("the end of staging", || {
            host.staged().is_empty().then_some(())
        });
        assert_clean(&host, &format!("panic after {moment:?}, done: {is_done}"));
        drop(runtime);
    }
}

/// Asks a cache of this host's for the package; its error is a failure of the test.
fn get(host: &Host) -> impl Future<Output = ()> + Send + 'static {
    let settings = Settings::in_dirs(host.cache_dir(), python_image()).unwrap();
    let cache = SnapshotCache::builder().settings(settings).build().unwrap();
    async move {
        let packages = PackageSet::parse(Language::Python, [PACKAGE]).unwrap();
        cache.get(&packages).await.unwrap();
    }
}

#[test]
fn packages_that_cannot_be_installed_and_those_that_can_leave_nothing_else() {
    for (package, code, entries) in [("idna==99.99", 3, 0), (PACKAGE, 0, 2)] {
        for _ in 0..tries().div_ceil(3) {
            let host = Host::new();
            let said = host.says(&["-q", "get", "python", package]);
            assert_eq!(said.code, Some(code), "{said:?}");
            assert_clean(&host, package);
            assert_eq!(host.entries().len(), entries);
        }
    }
}
