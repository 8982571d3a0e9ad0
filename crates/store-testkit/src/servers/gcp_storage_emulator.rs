use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Protocol, Site, Source, StoreServer};

/// gcp-storage-emulator, in Python. The JSON API of GCS; no XML multipart, and `ifGenerationMatch=0` is ignored.
#[derive(Debug, Clone, Copy)]
pub struct GcpStorageEmulator;

impl StoreServer for GcpStorageEmulator {
    fn name(&self) -> &'static str {
        "gcp-storage-emulator"
    }

    fn protocol(&self) -> Protocol {
        Protocol::Gcs
    }

    fn source(&self) -> Source {
        Source::Python {
            package: "gcp-storage-emulator",
            version: "2026.7.19",
        }
    }

    fn program(&self, installed: &Path) -> io::Result<PathBuf> {
        Ok(installed.join("bin/gcp-storage-emulator"))
    }

    fn command(&self, program: &Path, site: &Site) -> io::Result<Command> {
        let mut command = Command::new(program);
        command
            .arg("--data-dir")
            .arg(&site.data)
            .args(["start", "--quiet", "--host", "127.0.0.1"])
            .args(["--port", &site.port().to_string()]);
        Ok(command)
    }

    fn ready_path(&self) -> &'static str {
        "/storage/v1/b?project=test"
    }
}
