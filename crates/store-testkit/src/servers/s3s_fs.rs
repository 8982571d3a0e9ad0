use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Protocol, Site, Source, StoreServer};

/// The file-system server of s3s. Real signatures, conditional writes, multipart, ranges and checksums; no
/// tagging. A write to a bucket that is missing succeeds.
#[derive(Debug, Clone, Copy)]
pub struct S3sFs;

impl StoreServer for S3sFs {
    fn name(&self) -> &'static str {
        "s3s-fs"
    }

    fn protocol(&self) -> Protocol {
        Protocol::S3
    }

    fn source(&self) -> Source {
        Source::Cargo {
            package: "s3s-fs",
            version: "0.14.1",
            features: "binary",
        }
    }

    fn program(&self, installed: &Path) -> io::Result<PathBuf> {
        Ok(installed.join("bin/s3s-fs"))
    }

    fn command(&self, program: &Path, site: &Site) -> io::Result<Command> {
        let mut command = Command::new(program);
        command
            .args(["--host", "127.0.0.1", "--port", &site.port().to_string()])
            .args(["--access-key", &site.keys.access])
            .args(["--secret-key", &site.keys.secret])
            .arg(&site.data);
        Ok(command)
    }
}
