use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a server cannot be had, or does not do as it is told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// It could not be installed.
    #[error("install {server}: `{command}` failed: {why}; {remedy}")]
    Install {
        /// Its name.
        server: &'static str,
        /// The command that failed.
        command: String,
        /// How, and its last lines.
        why: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// It ended, or did not answer in time.
    #[error("start {server}: {why}; its output is in `{}`", log.display())]
    Start {
        /// Its name.
        server: &'static str,
        /// What became of it.
        why: String,
        /// Where its output went.
        log: PathBuf,
    },
    /// It refused a request.
    #[error("{what}: {why}")]
    Request {
        /// What was asked of it.
        what: String,
        /// How it answered.
        why: String,
    },
    /// A file or a process is not as it should be.
    #[error("{what} `{}`", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl ServerError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
