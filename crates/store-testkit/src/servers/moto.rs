use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Protocol, Site, Source, StoreServer};

/// Moto's server, a mock of AWS in Python. Any signature will do; no checksum is checked, and ranges are slow.
#[derive(Debug, Clone, Copy)]
pub struct Moto;

impl StoreServer for Moto {
    fn name(&self) -> &'static str {
        "moto"
    }

    fn protocol(&self) -> Protocol {
        Protocol::S3
    }

    fn source(&self) -> Source {
        Source::Python {
            package: "moto[server]",
            version: "5.2.5",
        }
    }

    fn program(&self, installed: &Path) -> io::Result<PathBuf> {
        Ok(installed.join("bin/moto_server"))
    }

    fn command(&self, program: &Path, site: &Site) -> io::Result<Command> {
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &site.port().to_string()]);
        Ok(command)
    }

    fn ready_path(&self) -> &'static str {
        "/moto-api/"
    }
}
