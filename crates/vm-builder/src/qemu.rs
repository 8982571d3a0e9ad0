//! The QEMU process: it lives no longer than whoever started it, and is confined from its first instruction.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use tokio::sync::watch;

use crate::confinement::Confinement;
use crate::tail::Tail;

/// A running QEMU. Dropping it kills it and returns when it is gone.
#[derive(Debug)]
pub(crate) struct Qemu {
    pidfd: OwnedFd,
    exited: watch::Receiver<Option<ExitStatus>>,
    stderr: Tail,
    keeper: Option<JoinHandle<()>>,
}

impl Qemu {
    /// Starts `program` with `args`, confined. It inherits the file descriptors `inherited` under their own
    /// numbers, and no others.
    pub(crate) fn start(
        program: &Path,
        args: &[OsString],
        inherited: Vec<OwnedFd>,
        confinement: Confinement,
    ) -> io::Result<Self> {
        let mut command = Command::new(find(program)?);
        command
            .arg0(program)
            .args(args)
            .env_clear()
            .envs(Confinement::environment())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // Out of the terminal's foreground group: Ctrl-C is for us, and we end QEMU in our own way.
        command.process_group(0);
        let confinement = Arc::new(confinement);
        confine(&mut command, confinement.clone(), inherited);

        let (started_tx, started_rx) = std::sync::mpsc::sync_channel(1);
        let (exited_tx, exited) = watch::channel(None);
        // The kernel kills QEMU when the *thread* that started it ends, so that thread stays for as
        // long as QEMU lives. A pool's thread would not.
        let keeper = std::thread::Builder::new()
            .name("qemu-keeper".into())
            .spawn(move || {
                match command
                    .spawn()
                    .and_then(|child| Ok((open_pidfd(&child)?, child)))
                {
                    Ok((pidfd, mut child)) => {
                        // Our copies of the inherited descriptors must go, or their other ends never see
                        // an end of file when QEMU dies.
                        drop(command);
                        let stderr = child.stderr.take();
                        let _ = started_tx.send(Ok((pidfd, stderr)));
                        let status = child.wait();
                        // Whoever hears of the end finds nothing left of it.
                        drop(confinement);
                        let _ = exited_tx.send(status.ok());
                    }
                    Err(error) => {
                        let _ = started_tx.send(Err(error));
                    }
                }
            })?;
        let (pidfd, stderr) = started_rx.recv().map_err(io::Error::other)??;
        let stderr = match stderr {
            Some(pipe) => Tail::of(tokio::net::unix::pipe::Receiver::from_owned_fd(
                pipe.into(),
            )?),
            None => Tail::empty(),
        };
        Ok(Self {
            pidfd,
            exited,
            stderr,
            keeper: Some(keeper),
        })
    }

    /// Waits until QEMU has ended. `None` when its status could not be had.
    pub(crate) async fn exited(&self) -> Option<ExitStatus> {
        let mut exited = self.exited.clone();
        // An error means that the keeper is gone, and QEMU with it.
        exited
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|status| *status)
    }

    /// The last that QEMU itself said so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The last that QEMU itself said. Asked after its end.
    pub(crate) async fn last_stderr(&self) -> String {
        self.stderr.ended().await;
        self.stderr.text()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        if let Some(keeper) = self.keeper.take() {
            // A killed process is gone in milliseconds; then its files are nobody's any more.
            let _ = keeper.join();
        }
    }
}

/// The program's file. It is looked for here, by us: another user may not be able to enter every directory of `PATH`
/// or follow every link.
fn find(program: &Path) -> io::Result<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize();
    }
    let is_program = |path: &PathBuf| {
        let metadata = path.metadata();
        metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(is_program);
    found
        .ok_or_else(|| io::ErrorKind::NotFound.into())
        .and_then(|path| path.canonicalize())
}

fn open_pidfd(child: &Child) -> io::Result<OwnedFd> {
    Ok(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?)
}

/// Confines the command's process, has the kernel kill it when the thread that spawns it ends, and lets it
/// inherit `inherited`.
fn confine(command: &mut Command, confinement: Arc<Confinement>, inherited: Vec<OwnedFd>) {
    let parent = getpid();
    let prepare = move || {
        confinement.enter()?;
        // Only now: the kernel forgets it when a process becomes another user's.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            // It died before the kernel was told.
            return Err(io::ErrorKind::NotConnected.into());
        }
        for fd in &inherited {
            fcntl_setfd(fd, FdFlags::empty())?;
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
