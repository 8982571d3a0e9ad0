//! All that there is to be known against a disk that nobody vouches for, in the order in which it may be
//! found out: first by us, and only then by a tool that would follow what the file says.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Qcow2Error, Qcow2Header};

/// Holds the open overlay `file` against everything that a snapshot must be: its header, what
/// [`require_overlay`](Qcow2Header::require_overlay) allows, its tables, and last, by `qemu-img check`, its
/// reference counts.
///
/// `qemu_img` is the program: a path, or a name to be found on `PATH`. It reads the very file that is open
/// here, whatever its name leads to by then, and opens no backing file. Whether that is the right one is for
/// the caller to say. Blocks for some 10 ms and more for a file with many tables.
///
/// # Errors
///
/// What is wrong with the file; [`Tool`](Qcow2Error::Tool) when `qemu-img` cannot be run or does not come to its
/// end, which says nothing about the file.
pub fn vet_overlay(file: &File, qemu_img: &Path) -> Result<Qcow2Header, Qcow2Error> {
    let header = Qcow2Header::read(file)?;
    header.require_overlay()?;
    header.check_tables(file)?;
    qemu_img_check(file, qemu_img)?;
    Ok(header)
}

/// Holds the open disk `file` against everything that a base image must be: its header, what
/// [`require_standalone`](Qcow2Header::require_standalone) allows, its tables, and last, by `qemu-img check`, its
/// reference counts. For the rest it is as [`vet_overlay`].
///
/// # Errors
///
/// As for [`vet_overlay`].
pub fn vet_standalone(file: &File, qemu_img: &Path) -> Result<Qcow2Header, Qcow2Error> {
    let header = Qcow2Header::read(file)?;
    header.require_standalone()?;
    header.check_tables(file)?;
    qemu_img_check(file, qemu_img)?;
    Ok(header)
}

/// The open file by a name that leads nowhere else, with nothing behind it.
const STANDARD_INPUT: &str =
    r#"json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"/dev/fd/0"}}"#;
/// The exit codes of `qemu-img check` for a file that can be read as it was meant to be, and for one that cannot.
/// Any other means that the check did not come to its end.
const NO_ERRORS: i32 = 0;
const LEAKED_CLUSTERS: i32 = 3;
const CORRUPTIONS: i32 = 2;

fn qemu_img_check(file: &File, qemu_img: &Path) -> Result<(), Qcow2Error> {
    let tool = |source: io::Error| Qcow2Error::Tool {
        program: qemu_img.to_owned(),
        source,
    };
    let mut check = Command::new(qemu_img)
        .args(["check", "-q", STANDARD_INPUT])
        .stdin(Stdio::from(file.try_clone()?))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(tool)?;
    let said = check.stderr.take().map_or(Ok(Vec::new()), beginning);
    let status = check.wait().map_err(tool)?;
    let said = said.map_err(tool)?;
    let said = String::from_utf8_lossy(&said);
    let first = said.lines().find(|line| !line.trim().is_empty());
    let first = first.unwrap_or("it said nothing").trim();
    match status.code() {
        Some(NO_ERRORS | LEAKED_CLUSTERS) => Ok(()),
        Some(CORRUPTIONS) => Err(Qcow2Error::malformed(format!(
            "`qemu-img check` finds it corrupt: {first}"
        ))),
        // It was killed, had no memory, or somebody writes to the file: that says nothing about the file.
        _ => Err(tool(io::Error::other(format!("{status}: {first}")))),
    }
}

/// The first of what a program says, which it is let say to its end: a hostile file can have it say gigabytes.
fn beginning(mut said: impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    (&mut said).take(64 << 10).read_to_end(&mut first)?;
    io::copy(&mut said, &mut io::sink())?;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_program_says_the_beginning_is_kept_and_the_rest_is_let_pass() {
        let mut flood = io::repeat(b'x').take(10 << 20);
        let first = beginning(&mut flood).unwrap();
        assert_eq!((first.len(), flood.limit()), (64 << 10, 0));
    }
}
