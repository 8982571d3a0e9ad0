//! Children under `strace`, which can end one at a system call, or have that call fail. Whatever a layer does to
//! a disk is a system call, so that these are all the steps that there are.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use crate::child;

/// What becomes of a system call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// The process is killed before it.
    Kill,
    /// It fails, as on a disk that is broken.
    Fail,
}

/// How a traced child ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Killed,
    Exited(i32),
}

/// The system calls that change what is on a disk, or who may.
pub(crate) const STEPS: [&str; 12] = [
    "?rename,?renameat,?renameat2",
    "?link,linkat",
    "?unlink,unlinkat,?rmdir",
    "fsync",
    "flock",
    "?chmod,fchmod,fchmodat",
    "?mkdir,mkdirat",
    "write",
    "pwrite64",
    "ftruncate",
    "utimensat",
    "?open,openat",
];

/// Runs a child whose `nth` call of `step` meets its `fate`.
pub(crate) fn run(
    action: &str,
    root: &Path,
    dir: &Path,
    step: &str,
    nth: usize,
    fate: Fate,
) -> End {
    let fate = match fate {
        Fate::Kill => "signal=KILL",
        Fate::Fail => "error=EIO",
    };
    let output = Command::new("strace")
        .args(["-f", "-qqq", "-o", "/dev/null"])
        .args(["-e", &format!("trace={step}")])
        .args(["-e", &format!("inject={step}:{fate}:when={nth}")])
        .arg(std::env::current_exe().unwrap())
        .args(child::arguments(action, root, dir))
        .stdin(Stdio::null())
        .output()
        .expect("strace is installed");
    end(&output)
}

fn end(output: &Output) -> End {
    let status: ExitStatus = output.status;
    match (status.code(), status.signal()) {
        (Some(code @ (child::DONE | child::REFUSED)), _) => End::Exited(code),
        (_, Some(9)) => End::Killed,
        // A panic is no way to end.
        _ => panic!("{status}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}
