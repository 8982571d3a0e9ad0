use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Keys, Protocol, Source};

/// A kind of server: where it comes from and how it is started.
pub trait StoreServer: fmt::Debug + Send + Sync {
    /// Its name, fit for a file name too.
    fn name(&self) -> &'static str;

    /// What it speaks.
    fn protocol(&self) -> Protocol;

    /// Where it is installed from, at which version.
    fn source(&self) -> Source;

    /// Its program, in the directory where it was installed.
    ///
    /// # Errors
    ///
    /// It is found by looking, and is not there.
    fn program(&self, installed: &Path) -> io::Result<PathBuf>;

    /// How many ports it takes, the one for clients included.
    fn ports(&self) -> usize {
        1
    }

    /// What starts it at `site`, in the foreground.
    ///
    /// # Errors
    ///
    /// Its configuration cannot be written.
    fn command(&self, program: &Path, site: &Site) -> io::Result<Command>;

    /// The path of a request that it answers as soon as it serves, with whatever status below 500.
    fn ready_path(&self) -> &'static str {
        "/"
    }
}

/// What a server is given of this host.
#[derive(Debug)]
pub struct Site {
    /// An empty or formerly used directory for its configuration.
    pub dir: PathBuf,
    /// A directory, below `dir`, for nothing but its data.
    pub data: PathBuf,
    /// Free ports of 127.0.0.1, the first for clients. The port 10000 above each is free too.
    pub ports: Vec<u16>,
    /// Whom an S3 server is to let in.
    pub keys: Keys,
}

impl Site {
    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports[0]
    }
}
