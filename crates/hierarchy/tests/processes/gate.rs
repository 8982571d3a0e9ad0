//! What holds builds up until the test lets them go.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

pub(crate) struct Gate(UnixListener);

/// A build that is held up for as long as this is.
#[must_use = "the build goes on as soon as this is dropped"]
pub(crate) struct Build {
    /// Where it is.
    pub(crate) process: u32,
    _stream: UnixStream,
}

impl Gate {
    pub(crate) fn at(root: &Path) -> Self {
        Self(UnixListener::bind(socket(root)).unwrap())
    }

    /// Waits until somebody builds.
    pub(crate) fn next_build(&mut self) -> Build {
        let (mut stream, _) = self.0.accept().unwrap();
        let mut process = [0; 4];
        stream.read_exact(&mut process).unwrap();
        Build {
            process: u32::from_le_bytes(process),
            _stream: stream,
        }
    }

    pub(crate) fn is_anybody_waiting(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        match self.0.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

/// Says who builds, and waits to be let go.
pub(crate) fn wait(root: &Path) {
    let mut stream = UnixStream::connect(socket(root)).unwrap();
    stream.write_all(&std::process::id().to_le_bytes()).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn socket(root: &Path) -> PathBuf {
    root.join("gate")
}
