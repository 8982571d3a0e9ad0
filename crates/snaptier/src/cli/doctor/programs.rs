//! QEMU, `qemu-img`, and what images are made with.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base_image::Tool;
use tokio::process::Command;
use tokio::time::timeout;

use super::finding::Finding;

/// Older ones have no `-netdev stream`.
const OLDEST_QEMU: (u32, u32) = (7, 2);
/// A program that has not told its version by then will not.
const TELLING: Duration = Duration::from_secs(10);

pub(crate) async fn qemu(program: &Path) -> Finding {
    judge_qemu(&program.display().to_string(), version(program).await)
}

pub(crate) async fn qemu_img(program: &Path) -> Finding {
    judge_qemu_img(&program.display().to_string(), version(program).await)
}

/// The programs that making an image takes and this host lacks.
pub(crate) async fn missing_tools() -> Vec<Tool> {
    cache_layer::blocking(base_image::missing_tools).await
}

/// The first line of what the program says of its version.
async fn version(program: &Path) -> io::Result<String> {
    let mut command = Command::new(program);
    let command = command
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let silent = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not tell its version");
    let output = timeout(TELLING, command.output()).await.map_err(silent)??;
    let said = String::from_utf8_lossy(&output.stdout);
    let first = said.lines().next().unwrap_or_default().trim().to_owned();
    if output.status.success() {
        Ok(first)
    } else {
        Err(io::Error::other(format!("it ended with {}", output.status)))
    }
}

fn judge_qemu(program: &str, version: io::Result<String>) -> Finding {
    const CHECK: &str = "qemu";
    let (major, minor) = OLDEST_QEMU;
    let upgrade = format!(
        "install QEMU {major}.{minor} or later: the package qemu-system-x86 (Debian 12, Ubuntu 23.04, or later)"
    );
    let version = match version {
        Ok(version) => version,
        Err(error) => return not_run(CHECK, program, &error, &upgrade),
    };
    match numbers(&version) {
        Some(found) if found >= OLDEST_QEMU => Finding::ok(CHECK, version),
        Some(_) => Finding::failed(CHECK, format!("{version}: too old"), upgrade),
        None => Finding::failed(CHECK, format!("`{program}` is no QEMU: {version}"), upgrade),
    }
}

fn judge_qemu_img(program: &str, version: io::Result<String>) -> Finding {
    const CHECK: &str = "qemu-img";
    match version {
        Ok(version) => Finding::ok(CHECK, version),
        Err(error) => {
            let install = "install the package qemu-utils (Debian, Ubuntu)";
            not_run(CHECK, program, &error, install)
        }
    }
}

fn not_run(check: &str, program: &str, error: &io::Error, install: &str) -> Finding {
    let found = match error.kind() {
        io::ErrorKind::NotFound => format!("`{program}` is not installed"),
        _ => format!("`{program}` does not run: {error}"),
    };
    Finding::failed(check, found, install)
}

/// The numbers in `QEMU emulator version 7.2.22 (Debian …)`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let rest = version.strip_prefix("QEMU emulator version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next()?.parse().ok()?))
}

/// Without an image nothing works before one is made; with one, it will do for now.
pub(crate) fn tools(missing: &[Tool], has_image: bool) -> Finding {
    const CHECK: &str = "image tools";
    if missing.is_empty() {
        return Finding::ok(CHECK, "all there: images can be made");
    }
    let programs: Vec<_> = missing.iter().map(|tool| tool.program).collect();
    let mut packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let found = format!("no image can be made without {}", programs.join(", "));
    let remedy = format!(
        "install {} (Debian, Ubuntu), or import an image",
        packages.join(" ")
    );
    if has_image {
        Finding::warning(CHECK, found, remedy)
    } else {
        Finding::failed(CHECK, found, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Status, assert_judged};
    use super::*;

    #[test]
    fn a_qemu_is_held_against_the_oldest_that_will_do() {
        for (version, status, word) in [
            (
                "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)",
                Status::Ok,
                "7.2.22",
            ),
            ("QEMU emulator version 10.0.0", Status::Ok, "10.0"),
            (
                "QEMU emulator version 7.1.93",
                Status::Failed,
                "7.2 or later",
            ),
            (
                "QEMU emulator version 6.2.0 (Debian 1:6.2+dfsg-2ubuntu6)",
                Status::Failed,
                "too old",
            ),
            ("qemu-img version 7.2.22", Status::Failed, "is no QEMU"),
            ("", Status::Failed, "is no QEMU"),
        ] {
            assert_judged(&judge_qemu("qemu", Ok(version.to_owned())), status, word);
        }
    }

    #[test]
    fn a_program_that_is_missing_is_told_from_one_that_does_not_run() {
        let error = |kind| Err(io::Error::from(kind));
        for (finding, word) in [
            (
                judge_qemu("q", error(io::ErrorKind::NotFound)),
                "`q` is not installed",
            ),
            (
                judge_qemu("q", error(io::ErrorKind::PermissionDenied)),
                "`q` does not run",
            ),
            (
                judge_qemu_img("i", error(io::ErrorKind::NotFound)),
                "qemu-utils",
            ),
        ] {
            assert_judged(&finding, Status::Failed, word);
        }
    }

    #[test]
    fn missing_tools_are_as_bad_as_the_lack_of_an_image() {
        let missing = ["mmdebstrap", "mke2fs"].map(|program| Tool {
            program,
            package: program,
        });
        assert_judged(&tools(&[], false), Status::Ok, "all there");
        assert_judged(
            &tools(&missing, true),
            Status::Warning,
            "mmdebstrap, mke2fs",
        );
        assert_judged(
            &tools(&missing, false),
            Status::Failed,
            "install mke2fs mmdebstrap",
        );
    }
}
