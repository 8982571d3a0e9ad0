//! Children under `strace`, which can kill one at a system call. Whatever is written down is written by a system
//! call, so that these are all the steps that there are.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::child;

/// The system calls that change what is on a disk, or who may.
pub(crate) const STEPS: [&str; 7] = [
    "?rename,?renameat,?renameat2",
    "?unlink,unlinkat,?rmdir",
    "fsync",
    "flock",
    "?mkdir,mkdirat",
    "write",
    "?open,openat",
];

/// Runs a child and kills it before its `nth` call of `step`. Whether it got so far.
pub(crate) fn kill(action: &str, dir: &Path, step: &str, nth: usize) -> bool {
    let output = Command::new("strace")
        .args(["-f", "-qqq", "-o", "/dev/null"])
        .args(["-e", &format!("trace={step}")])
        .args(["-e", &format!("inject={step}:signal=KILL:when={nth}")])
        .arg(std::env::current_exe().unwrap())
        .args(child::arguments(action, dir))
        .stdin(Stdio::null())
        .output()
        .expect("strace is installed");
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => false,
        (_, Some(9)) => true,
        // A panic is no way to end.
        _ => panic!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
