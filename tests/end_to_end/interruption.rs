//! A build that is interrupted leaves no machine, no socket and no file.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::host::Host;

/// A build that is under way: its machine runs.
struct Building {
    host: Host,
    process: Child,
    machine: u32,
}

impl Building {
    /// Starts one and waits until its guest runs the installer or boots.
    fn start() -> Self {
        let host = Host::new();
        let process = host
            .snaptier(&["-q", "get", "python", "requests==2.32.3"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let machine = wait_for("a machine", || host.machines().first().copied());
        Self {
            host,
            process,
            machine,
        }
    }

    /// Sends the signal and gives the exit code, if the process ended by itself.
    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        self.process.wait().unwrap().code()
    }

    fn is_machine_gone(&self) -> bool {
        !std::fs::exists(format!("/proc/{}", self.machine)).unwrap()
    }
}

/// A machine that was never killed would run for as long as its install takes, and then be gone by itself.
const SOON: Duration = Duration::from_secs(30);

fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < SOON, "waited for {what} for too long");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_signal_to_stop_ends_the_machine_and_empties_staging() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut building = Building::start();
        assert_eq!(building.signal(signal), Some(code));
        // Already: whoever sees the exit code sees a clean host.
        assert!(building.is_machine_gone());
        assert_eq!(building.host.machines(), [] as [u32; 0]);
        assert_eq!(building.host.staged(), [] as [&str; 0]);
        assert_eq!(building.host.entries(), [] as [&str; 0]);
    }
}

#[test]
fn a_killed_process_takes_its_machine_along_and_the_next_one_sweeps_staging() {
    let mut building = Building::start();
    assert_eq!(building.signal(Signal::KILL), None);
    wait_for("the machine's end", || {
        building.is_machine_gone().then_some(())
    });
    assert_ne!(
        building.host.staged(),
        [] as [&str; 0],
        "nothing was there to be swept"
    );
    // Any use of the cache opens it.
    building.host.says(&["get", "python"]).answer();
    assert_eq!(building.host.staged(), [] as [&str; 0]);
}
