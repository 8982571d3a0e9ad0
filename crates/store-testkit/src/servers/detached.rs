use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, Keys};
use super::launch::{Launch, Launchee};
use super::process::start_detached;
use super::{ServerError, Shelf, StoreServer};

/// A server that goes on when we end, and the record of it in its directory, by which it is found again.
#[derive(Debug)]
pub struct Detached {
    server: &'static dyn StoreServer,
    record: Record,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: u32,
    /// A process id comes round again; an id together with its start does not.
    started: u64,
    endpoint: String,
}

/// What became of a server that was to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It has ended at our word.
    Now {
        /// The process id that it had.
        pid: u32,
    },
    /// It had ended before.
    Before,
    /// None was started in this directory.
    Never,
}

/// A server that was told to end gets this long before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

impl Detached {
    /// Starts the server with its data in `dir`, as [`Running`](super::Running) does, or finds the one that was
    /// started there and still runs.
    ///
    /// # Errors
    ///
    /// It cannot be installed, ends, or does not answer; its record cannot be written.
    pub fn start(
        shelf: &Shelf,
        server: &'static dyn StoreServer,
        dir: &Path,
    ) -> Result<Self, ServerError> {
        if let Some(record) = Record::read(dir)?.filter(Record::is_alive) {
            return Ok(Self { server, record });
        }
        let launched = Launch::new(shelf, server, dir)?
            .run(|command| start_detached(command).map(Unrecorded))?;
        let pid = launched.process.id();
        let record = Record {
            pid,
            started: start_of(pid).unwrap_or_default(),
            endpoint: launched.endpoint,
        };
        record.write(dir)?;
        // Recorded: from now on it is stopped by its record only.
        std::mem::forget(launched.process);
        Ok(Self { server, record })
    }

    /// Ends the server that was started with its data in `dir`, and forgets it. The data stay.
    ///
    /// # Errors
    ///
    /// The record cannot be read, or the process not be ended.
    pub fn stop(dir: &Path) -> Result<Stopped, ServerError> {
        let Some(record) = Record::read(dir)? else {
            return Ok(Stopped::Never);
        };
        let was_alive = record.is_alive();
        if was_alive {
            let path = record_path(dir);
            end(record.pid)
                .map_err(|error| ServerError::io("end the process of", &path)(error.into()))?;
        }
        let path = record_path(dir);
        fs::remove_file(&path).map_err(ServerError::io("remove", &path))?;
        Ok(if was_alive {
            Stopped::Now { pid: record.pid }
        } else {
            Stopped::Before
        })
    }

    /// Makes a bucket, or finds that it is there.
    ///
    /// # Errors
    ///
    /// The server refuses, or is gone.
    pub fn make_bucket(&self, name: &str) -> Result<Bucket, ServerError> {
        let protocol = self.server.protocol();
        let keys = (protocol == super::Protocol::S3).then(Keys::of_tests);
        let bucket = Bucket::new(protocol, &self.record.endpoint, name, keys);
        bucket.make()?;
        Ok(bucket)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.record.pid
    }
}

/// Killed unless it gets as far as its record: nobody could find it again.
struct Unrecorded(Child);

impl Launchee for Unrecorded {
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Record {
    fn read(dir: &Path) -> Result<Option<Self>, ServerError> {
        let path = record_path(dir);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| ServerError::io("read", &path)(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ServerError::io("read", &path)(error)),
        }
    }

    fn write(&self, dir: &Path) -> Result<(), ServerError> {
        let path = record_path(dir);
        let written = serde_json::to_vec(self)
            .map_err(Into::into)
            .and_then(|bytes| fs::write(&path, bytes));
        written.map_err(ServerError::io("write", &path))
    }

    /// Whether its process is still the one that was started.
    fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.started)
    }
}

fn record_path(dir: &Path) -> PathBuf {
    dir.join("server.json")
}

/// When a live process started, in clock ticks since boot. A zombie is none.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // As proc(5) has it; the name in parentheses, the second field, may have blanks and parentheses in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    let (state, started) = (fields.first()?, fields.get(19)?);
    (*state != "Z").then(|| started.parse().ok())?
}

fn end(pid: u32) -> rustix::io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(rustix::io::Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_send_signal(&pidfd, Signal::TERM)?;
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let ended = || poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience));
    if ended()? == 0 {
        pidfd_send_signal(&pidfd, Signal::KILL)?;
        ended()?;
    }
    Ok(())
}
