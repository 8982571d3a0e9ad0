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

/// A command line that dies with us, and takes all that it started along: in a PID namespace of its own
/// when root runs it. `mmdebstrap` makes one itself when anybody else does.
pub(crate) fn contained(tool: Tool, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args([
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
    }
    command.arg(tool.program).args(args);
    command
}

/// The same, believing that it is root: for file ownership in an archive or a file system.
pub(crate) fn as_root(
    tool: Tool,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Command, ImageError> {
    if rustix::process::geteuid().is_root() {
        return Ok(contained(tool, args));
    }
    FAKEROOT.require()?;
    let mut command = contained(FAKEROOT, [tool.program]);
    command.args(args);
    Ok(command)
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
