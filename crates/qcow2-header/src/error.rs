use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file is not a qcow2 file that may be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Qcow2Error {
    /// The file could not be read or written; its contents have nothing to do with it.
    #[error("read or write the qcow2 file")]
    Io(#[source] io::Error),
    /// It is not a qcow2 file at all.
    #[error("it does not begin with a qcow2 header: {0}")]
    NotQcow2(String),
    /// Its header or tables contradict themselves, each other, or the file's length: it is damaged, cut off
    /// or made to deceive.
    #[error("{0}")]
    Malformed(String),
    /// It is well formed, and uses something that a snapshot or base image must not.
    #[error("{0}")]
    Refused(String),
    /// The program that checks reference counts cannot be run to its end; that need not be the file's doing.
    #[error("{}", cannot_run(program, source))]
    Tool {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Qcow2Error {
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    pub(crate) fn refused(what: impl Into<String>) -> Self {
        Self::Refused(what.into())
    }
}

/// An end of file is a matter of the contents: the file is shorter than its header says.
impl From<io::Error> for Qcow2Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Self::malformed("the file ends in the midst of a table")
            }
            _ => Self::Io(error),
        }
    }
}

fn cannot_run(program: &Path, error: &io::Error) -> String {
    let name = program.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("`{name}` is not installed: install the package qemu-utils (Debian, Ubuntu)")
        }
        _ => format!("run `{name}`"),
    }
}
