//! Processes that live no longer than ours, and processes that do.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, setsid,
};

/// A running process. Dropping it kills it and returns when it is gone.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    keeper: Option<JoinHandle<io::Result<ExitStatus>>>,
}

impl Process {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        // Out of the terminal's foreground group: Ctrl-C is for us.
        command.stdin(Stdio::null()).process_group(0);
        die_with_parent(&mut command);
        let (started_tx, started_rx) = mpsc::sync_channel(1);
        // The kernel kills it when the *thread* that started it ends, so that thread stays for as long as it
        // lives. A test's thread would not.
        let keeper = std::thread::Builder::new()
            .name("server-keeper".into())
            .spawn(move || {
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = started_tx.send(Err(error));
                        return Err(io::ErrorKind::NotFound.into());
                    }
                };
                let _ = started_tx.send(open_pidfd(&child));
                child.wait()
            })?;
        let (pid, pidfd) = started_rx.recv().map_err(io::Error::other)??;
        Ok(Self {
            pid,
            pidfd,
            keeper: Some(keeper),
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.keeper.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// Starts a process that goes on when we and our terminal are gone.
pub(super) fn start_detached(mut command: Command) -> io::Result<Child> {
    command.stdin(Stdio::null());
    let prepare = || Ok(setsid().map(drop)?);
    #[expect(unsafe_code, reason = "there is no safe way to begin a session")]
    // SAFETY: the closure makes one async-signal-safe system call.
    unsafe {
        command.pre_exec(prepare);
    }
    command.spawn()
}

/// Runs a command to its end, or to ours.
pub(super) fn tied_output(command: &mut Command) -> io::Result<Output> {
    die_with_parent(command);
    command.stdin(Stdio::null()).output()
}

fn open_pidfd(child: &Child) -> io::Result<(Pid, OwnedFd)> {
    let pid = Pid::from_child(child);
    Ok((pid, pidfd_open(pid, PidfdFlags::empty())?))
}

/// Has the kernel kill the command's process when the thread that spawns it ends.
fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            // It died before the kernel was told.
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "there is no safe way to set a parent-death signal"
    )]
    // SAFETY: the closure makes async-signal-safe system calls only; it neither allocates nor locks.
    unsafe {
        command.pre_exec(prepare);
    }
}
