//! The output of `run` when whoever should take it does not.

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, Said};
use crate::interruption::wait_for;

/// A command that never stops writing.
const ENDLESS: [&str; 5] = ["-q", "run", "python", "--", "yes"];

fn start(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut first = [0; 2];
    let stdout = process.stdout.as_mut().unwrap();
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"y\n");
    process
}

#[test]
fn a_signal_ends_a_command_whose_output_nobody_reads() {
    let host = Host::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut process = start(host.snaptier(&ENDLESS));
        let stdout = process.stdout.take().unwrap();
        let last = Cell::new((0, Instant::now()));
        wait_for("a full pipe", || {
            let (length, since) = last.get();
            let now = ioctl_fionread(&stdout).unwrap();
            if now != length {
                last.set((now, Instant::now()));
            }
            (now == length && now > 0 && since.elapsed() > Duration::from_secs(1)).then_some(())
        });
        assert_eq!(host.machines().len(), 1);
        kill_process(Pid::from_child(&process), signal).unwrap();
        let process = RefCell::new(process);
        let ended = wait_for("the end", || process.borrow_mut().try_wait().unwrap());
        assert_eq!(ended.code(), Some(code));
        assert_eq!(host.machines(), [] as [u32; 0]);
        assert_eq!(host.staged(), [] as [&str; 0]);
        drop(stdout);
    }
}

#[test]
fn output_that_cannot_be_written_ends_the_command_quietly_if_its_reader_is_gone() {
    let host = Host::new();
    let mut process = start(host.snaptier(&ENDLESS));
    drop(process.stdout.take());
    let said: Said = process.wait_with_output().unwrap().into();
    assert_eq!((said.code, said.stderr.as_str()), (Some(141), ""));
    assert_eq!(host.machines(), [] as [u32; 0]);

    let mut command = host.snaptier(&ENDLESS);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command
        .stdin(Stdio::null())
        .stdout(full)
        .stderr(Stdio::piped());
    let said: Said = output.spawn().unwrap().wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(5), "{said:?}");
    assert_eq!(
        said.stderr,
        "error: write the command's output: No space left on device (os error 28)\n"
    );
    assert_eq!(host.machines(), [] as [u32; 0]);
}
