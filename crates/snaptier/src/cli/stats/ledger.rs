//! The file in which processes add up what they did.
//!
//! ```text
//! {cache directory}/.stats.json            what was counted
//! {cache directory}/.stats.json.damaged    what could not be read, set aside
//! {cache directory}/.stats.lock            held by whoever changes it
//! ```
//!
//! A process that is killed takes what it did with it. Nothing that goes wrong here is an error of the command that did
//! what it was asked to.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_layer::KeyLock;
use jiff::Timestamp;
use serde::Deserialize;
use snaptier::SnapshotCache;
use thiserror::Error;

use super::totals::{FORMAT_VERSION, Totals};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// Where what was done is counted.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    dir: PathBuf,
}

/// Why there is no telling what was counted.
#[derive(Debug, Error)]
pub(super) enum LedgerError {
    #[error("use the counters in `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the counters in `{}` are of format {format_version}, newer than {FORMAT_VERSION}, the newest known here: upgrade snaptier", path.display()
    )]
    Newer { path: PathBuf, format_version: u32 },
    #[error("the counters in `{}` cannot be read", path.display())]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// How often, and how long each time, another process is waited for: 5 seconds.
const TRIES: u32 = 1000;
const WAIT: Duration = Duration::from_millis(5);
/// A longer file is none of ours, in bytes.
const LONGEST: u64 = 1 << 20;

impl Ledger {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Adds what `cache` did. What cannot be read is set aside, and what cannot be written is not counted, with a
    /// warning; a directory that can only be read counts nothing.
    pub(crate) fn enter(&self, cache: &SnapshotCache) {
        let Some(outbox) = cache.outbox() else {
            return;
        };
        match Totals::of(&cache.stats(), outbox.stats(), Timestamp::now()) {
            Ok(done) if done.is_nothing() => {}
            Ok(done) => {
                if let Err(error) = self.add(done) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "what this command did is not counted");
                }
            }
            Err(error) => tracing::warn!(%error, "what this command did is not counted"),
        }
    }

    /// What was counted; `None` for nothing. What is damaged counts as nothing, with a warning.
    pub(super) fn read(&self) -> Result<Option<Totals>, LedgerError> {
        match self.load() {
            Err(error @ LedgerError::Damaged { .. }) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    "counters are damaged, and set aside when something is counted"
                );
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// Forgets what was counted, and gives it.
    pub(super) fn reset(&self) -> Result<Option<Totals>, LedgerError> {
        if !self.file().exists() {
            return Ok(None);
        }
        let _turn = self.turn()?;
        let counted = self.read()?;
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(counted),
        }
    }

    fn add(&self, done: Totals) -> Result<(), LedgerError> {
        let _turn = self.turn()?;
        let totals = match self.load() {
            Ok(Some(mut totals)) => {
                totals.add(&done);
                totals
            }
            Ok(None) => done,
            Err(error @ LedgerError::Damaged { .. }) => {
                let aside = self.dir.join(".stats.json.damaged");
                fs::rename(self.file(), &aside).map_err(|error| self.failed(error))?;
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, aside = %aside.display(), "counters are damaged, set aside, and begin anew");
                done
            }
            Err(error) => return Err(error),
        };
        self.store(&totals).map_err(|error| self.failed(error))
    }

    fn load(&self) -> Result<Option<Totals>, LedgerError> {
        /// Enough of any version's counters to tell their version.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }

        let path = self.file();
        let mut json = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut json));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| self.failed(error))?,
        };
        let damaged = |source| LedgerError::Damaged {
            path: self.file(),
            source,
        };
        let Version { format_version } = serde_json::from_slice(&json).map_err(damaged)?;
        if format_version > FORMAT_VERSION {
            return Err(LedgerError::Newer {
                path,
                format_version,
            });
        }
        serde_json::from_slice(&json).map(Some).map_err(damaged)
    }

    /// Not forced to the disk: a power cut costs counters, and no snapshot.
    fn store(&self, totals: &Totals) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(totals)?;
        json.push(b'\n');
        // Whoever holds the lock is alone with it.
        let new = self.dir.join(".stats.json.new");
        fs::write(&new, json)?;
        fs::rename(&new, self.file())
    }

    /// Waits for whoever writes the file, which is a few KiB; not for one that was stopped in the midst of it.
    fn turn(&self) -> Result<KeyLock, LedgerError> {
        let path = self.dir.join(".stats.lock");
        for _ in 0..TRIES {
            match KeyLock::try_acquire(&path).map_err(|error| self.failed(error))? {
                Some(lock) => return Ok(lock),
                // A lock of files gives no event to wait for.
                None => std::thread::sleep(WAIT),
            }
        }
        Err(self.failed(io::ErrorKind::TimedOut.into()))
    }

    fn file(&self) -> PathBuf {
        self.dir.join(".stats.json")
    }

    fn failed(&self, source: io::Error) -> LedgerError {
        let path = self.file();
        LedgerError::Io { path, source }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::new(Exit::Host, &error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::thread;

    use serde_json::json;

    use super::*;

    fn one_build() -> Totals {
        let latency =
            json!({ "calls": 1, "total_us": 3, "buckets": [{ "at_most_us": 4, "calls": 1 }] });
        serde_json::from_value(json!({
            "format_version": FORMAT_VERSION,
            "since": "2026-01-02T00:00:00Z",
            "layers": [],
            "builder": { "built": 1, "errors": {}, "latency": latency },
            "outbox": {},
        }))
        .unwrap()
    }

    fn built(ledger: &Ledger) -> u64 {
        let totals = ledger.read().unwrap();
        totals.map_or(0, |totals| totals.builder.counts.of("built"))
    }

    #[test]
    fn what_many_add_at_once_adds_up_and_a_reset_gives_it_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_dir(dir.path());
        assert_eq!(built(&ledger), 0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| ledger.add(one_build()).unwrap());
            }
        });
        assert_eq!(built(&ledger), 16);
        let counted = ledger.reset().unwrap().unwrap();
        assert_eq!(counted.builder.counts.of("built"), 16);
        assert_eq!(ledger.reset().unwrap(), None);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing stays");
    }

    #[test]
    fn damaged_counters_are_set_aside_and_counting_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_dir(dir.path());
        for damaged in [&b""[..], b"not JSON", br#"{"format_version":1}"#, b"\xff"] {
            fs::write(ledger.file(), damaged).unwrap();
            assert_eq!(built(&ledger), 0);
            ledger.add(one_build()).unwrap();
            assert_eq!(built(&ledger), 1);
            let aside = fs::read(dir.path().join(".stats.json.damaged")).unwrap();
            assert_eq!(aside, damaged);
        }
    }

    #[test]
    fn counters_of_a_newer_release_are_left_alone_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::in_dir(dir.path());
        let newer = br#"{"format_version":2}"#;
        fs::write(ledger.file(), newer).unwrap();
        let error = ledger.add(one_build()).unwrap_err().to_string();
        assert!(
            error.contains("format 2") && error.contains("upgrade"),
            "{error}"
        );
        assert!(ledger.read().is_err() && ledger.reset().is_err());
        assert_eq!(fs::read(ledger.file()).unwrap(), newer);
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_named_with_its_cause() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ledger = Ledger::in_dir(file.path());
        let error = ledger.add(one_build()).unwrap_err();
        assert!(error.to_string().contains(".stats.json"), "{error}");
        assert!(error.source().is_some());
    }
}
