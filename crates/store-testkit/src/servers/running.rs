use std::path::{Path, PathBuf};

use super::bucket::{Bucket, Keys};
use super::launch::{Launch, Launchee};
use super::process::Process;
use super::{ServerError, Shelf, StoreServer};

/// A server that runs for as long as this is kept. Dropping it kills the server and returns when it is gone; the
/// kernel kills it when our process dies, however it dies.
#[derive(Debug)]
#[must_use = "the server is killed as soon as this is dropped"]
pub struct Running {
    server: &'static dyn StoreServer,
    process: Process,
    endpoint: String,
    keys: Option<Keys>,
    dir: PathBuf,
}

impl Running {
    /// Installs the server on the workspace's [`Shelf`] if it has not been, starts it and waits until it answers.
    /// Its data go into `dir/data`, its output into `dir/log`; `dir` is made if it is missing.
    ///
    /// # Errors
    ///
    /// It cannot be installed, ends, or does not answer; the message says why and what it needs.
    pub fn start(server: &'static dyn StoreServer, dir: &Path) -> Result<Self, ServerError> {
        Self::start_from(&Shelf::of_workspace(), server, dir)
    }

    /// The same, installed on a shelf of one's own.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_from(
        shelf: &Shelf,
        server: &'static dyn StoreServer,
        dir: &Path,
    ) -> Result<Self, ServerError> {
        let launched = Launch::new(shelf, server, dir)?.run(Process::start)?;
        Ok(Self {
            server,
            process: launched.process,
            endpoint: launched.endpoint,
            keys: launched.keys,
            dir: dir.to_owned(),
        })
    }

    /// Makes a bucket, or finds that it is there.
    ///
    /// # Errors
    ///
    /// The server refuses, or is gone.
    pub fn make_bucket(&self, name: &str) -> Result<Bucket, ServerError> {
        let bucket = self.bucket(name);
        bucket.make()?;
        Ok(bucket)
    }

    /// The facts about a bucket that need not exist.
    #[must_use]
    pub fn bucket(&self, name: &str) -> Bucket {
        Bucket::new(
            self.server.protocol(),
            &self.endpoint,
            name,
            self.keys.clone(),
        )
    }

    /// What kind of server it is.
    #[must_use]
    pub fn server(&self) -> &'static dyn StoreServer {
        self.server
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The directory of its data. For [`S3sFs`](super::S3sFs) a bucket is a directory in it.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Launchee for Process {
    fn id(&self) -> u32 {
        Process::id(self)
    }

    fn has_ended(&mut self) -> bool {
        Process::has_ended(self)
    }
}
