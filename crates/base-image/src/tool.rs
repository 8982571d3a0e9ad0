//! Running a distribution's programs: nothing of them outlives us, and what they said last is kept.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use crate::ImageError;

/// A program, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub program: &'static str,
    /// The package that brings it.
    pub package: &'static str,
}

pub(crate) const MMDEBSTRAP: Tool = Tool {
    program: "mmdebstrap",
    package: "mmdebstrap",
};
pub(crate) const MKE2FS: Tool = Tool {
    program: "mke2fs",
    package: "e2fsprogs",
};
pub(crate) const QEMU_IMG: Tool = Tool {
    program: "qemu-img",
    package: "qemu-utils",
};
const FAKEROOT: Tool = Tool {
    program: "fakeroot",
    package: "fakeroot",
};

/// What the scripts of the recipes and this module itself run besides.
const OTHERS: [Tool; 4] = [
    tool("debugfs", "e2fsprogs"),
    tool("tar", "tar"),
    tool("setpriv", "util-linux"),
    tool("unshare", "util-linux"),
];
/// What it takes when it is not root that makes an image.
const ROOTLESS: [Tool; 2] = [FAKEROOT, tool("newuidmap", "uidmap")];

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// The programs that making an image takes and this host does not have.
#[must_use]
pub fn missing_tools() -> Vec<Tool> {
    let is_root = rustix::process::geteuid().is_root();
    let rootless = if is_root { &[][..] } else { &ROOTLESS };
    [MMDEBSTRAP, MKE2FS, QEMU_IMG]
        .iter()
        .chain(&OTHERS)
        .chain(rootless)
        .filter(|tool| tool.require().is_err())
        .copied()
        .collect()
}

/// Lines of a failed program's output that are kept.
const KEPT_LINES: usize = 30;

impl Tool {
    /// Whether it is there to be run.
    pub(crate) fn require(self) -> Result<(), ImageError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps file-system tools out of an ordinary user's path.
        let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        match dirs
            .map(|dir| dir.join(self.program))
            .any(|file| file.is_file())
        {
            true => Ok(()),
            false => Err(ImageError::MissingTool {
                program: self.program,
                package: self.package,
            }),
        }
    }
}

/// A command line that dies with us, of a program that starts no other.
pub(crate) fn single(tool: Tool, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", tool.program])
        .args(args);
    command
}

/// What ends with its first process, whatever that started. Its `/proc` shows no more than is in it.
const CONTAINED: [&str; 6] = [
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];
/// What an ordinary user has to have besides. The IPC namespace takes the queues and semaphores of `fakeroot` along.
const ORDINARY: [&str; 3] = ["--user", "--map-current-user", "--ipc"];

/// A command line that dies with us, and takes all that it started along: in a PID namespace of its own
/// when root runs it. `mmdebstrap` makes one itself when anybody else does.
pub(crate) fn contained(tool: Tool, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args(CONTAINED);
    }
    command.arg(tool.program).args(args);
    command
}

/// The same, believing that it is root: for file ownership in an archive or a file system.
pub(crate) async fn as_root(
    tool: Tool,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Command, ImageError> {
    if rustix::process::geteuid().is_root() {
        return Ok(contained(tool, args));
    }
    FAKEROOT.require()?;
    if has_user_namespaces().await {
        return Ok(in_belief(tool, args));
    }
    tracing::warn!(
        "`unshare` has no user namespace here: `fakeroot` may stay if this is interrupted"
    );
    let mut command = contained(FAKEROOT, [tool.program]);
    command.args(args);
    Ok(command)
}

/// A host's policy may withhold them from `unshare` and leave them to `mmdebstrap`.
async fn has_user_namespaces() -> bool {
    let mut probe = Command::new(CONTAINED[0]);
    probe
        .args(&CONTAINED[1..])
        .args(ORDINARY)
        .arg("true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    probe.status().await.is_ok_and(|status| status.success())
}

/// An ordinary user's command line that dies with us, takes all along, and believes that it is root's.
fn in_belief(tool: Tool, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(CONTAINED)
        .args(ORDINARY)
        .args([FAKEROOT.program, tool.program])
        .args(args)
        // Nobody but the user has an id in the namespace, and `fakeroot` takes only a lack of leave for granted.
        .env("FAKEROOTDONTTRYCHOWN", "1");
    command
}

/// Runs `command`, which is to do `what`, to its end. Dropping the future kills it.
pub(crate) async fn run(
    mut command: Command,
    tool: Tool,
    what: &'static str,
    dir: &Path,
) -> Result<(), ImageError> {
    let path = std::env::var("PATH").unwrap_or_default();
    let command = command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C.UTF-8")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(ImageError::io("start", tool.program))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (out, err, status) = tokio::join!(last_lines(stdout), last_lines(stderr), child.wait());
    let status: ExitStatus = status.map_err(ImageError::io("wait for", tool.program))?;
    if status.success() {
        return Ok(());
    }
    let output = out.into_iter().chain(err).collect::<Vec<_>>().join("\n");
    Err(ImageError::ToolFailed {
        what,
        program: tool.program,
        status,
        output,
    })
}

async fn last_lines(pipe: Option<impl AsyncRead + Unpin>) -> Vec<String> {
    let mut kept = Vec::new();
    let Some(pipe) = pipe else { return kept };
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(line);
        if kept.len() == KEPT_LINES {
            kept.remove(0);
        }
        kept.push(line);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::chown;
    use std::path::PathBuf;
    use std::time::Duration;

    use cache_key::Language;
    use tempfile::TempDir;

    use super::*;
    use crate::recipe::{DISK, Recipe};

    const SHELL: Tool = tool("sh", "dash");
    /// Who the tests are for when root runs them.
    const NOBODY: u32 = 65534;

    /// A folder of an ordinary user's.
    fn folder() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        dir
    }

    /// What such a user runs.
    async fn ordinary(script: &str) -> Command {
        let args = ["-c", script];
        if !rustix::process::geteuid().is_root() {
            return as_root(SHELL, args).await.unwrap();
        }
        let mut command = in_belief(SHELL, args);
        command.uid(NOBODY).gid(NOBODY);
        command
    }

    async fn done(mut command: Command, dir: &Path) -> String {
        let output = command.current_dir(dir).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// The processes that work in `dir`.
    fn processes_in(dir: &Path) -> Vec<PathBuf> {
        let entries = Path::new("/proc").read_dir().unwrap().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == dir))
            .collect()
    }

    #[tokio::test]
    async fn an_ordinary_users_step_that_is_given_up_leaves_no_process() {
        let dir = folder();
        done(shell("mkfifo -m 666 up"), dir.path()).await;
        let pipe = dir.path().join("up");
        let up = tokio::task::spawn_blocking(move || {
            BufReader::new(File::open(pipe).unwrap()).lines().next()
        });
        let command = ordinary("setsid sleep 1000 & echo up > up; sleep 1000; true").await;
        let step = run(command, SHELL, "wait", dir.path());
        tokio::select! {
            ended = step => panic!("{ended:?}"),
            line = up => assert_eq!(line.unwrap().unwrap().unwrap(), "up"),
        }
        // The kernel ends what was started in its own time.
        for _ in 0..200 {
            if processes_in(dir.path()).is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("left: {:?}", processes_in(dir.path()));
    }

    #[tokio::test]
    async fn the_disk_that_an_ordinary_user_makes_has_the_owners_and_modes_of_the_root() {
        let dir = folder();
        let packed = shell(
            "mkdir -p from/boot from/etc
            echo kernel > from/boot/vmlinuz; echo secret > from/etc/shadow; echo su > from/etc/su
            cd from
            tar --create --file ../root.tar --owner=:0 --group=:0 --mode=755 ./boot
            tar --append --file ../root.tar --owner=:0 --group=:42 --mode=640 ./etc/shadow
            tar --append --file ../root.tar --owner=:0 --group=:0 --mode=4755 ./etc/su
            cd ..; rm -r from; chmod 666 root.tar",
        );
        done(packed, dir.path()).await;
        let mut step = ordinary(DISK).await;
        step.envs(Recipe::of(Language::Raw).unwrap().variables);
        let made = run(step, SHELL, "make a disk", dir.path()).await;
        made.unwrap_or_else(|error| panic!("{error} {:?}", error.output()));

        let seen = shell(
            "PATH=$PATH:/usr/sbin:/sbin
            qemu-img convert -f qcow2 -O raw disk.qcow2 disk.raw
            for file in boot etc/shadow etc/su; do debugfs -R \"stat $file\" disk.raw; done",
        );
        let seen = done(seen, dir.path()).await;
        let of = |word: &str| -> Vec<_> {
            let mut words = seen.split_whitespace();
            let mut found = Vec::new();
            while words.any(|other| other == word) {
                found.extend(words.next().map(str::to_owned));
            }
            found
        };
        assert_eq!(of("Mode:"), ["0755", "0640", "04755"], "{seen}");
        assert_eq!(of("User:"), ["0", "0", "0"], "{seen}");
        assert_eq!(of("Group:"), ["0", "42", "0"], "{seen}");
    }
}
