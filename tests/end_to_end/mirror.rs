//! A package index of the operator's own, on this very host: it is the only one that is asked.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::host::{Host, Said};

const INDEX: &str = include_str!("mirror/index.py");

/// An index with one package that no other has, over TLS by a certificate of its own authority.
struct Index {
    dir: tempfile::TempDir,
    process: Child,
    url: String,
}

impl Index {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certify(dir.path());
        let mut process = Command::new("python3")
            .args(["-c", INDEX])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let stdout = process.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut url).unwrap();
        Self {
            dir,
            process,
            url: url.trim().to_owned(),
        }
    }

    fn ca_bundle(&self) -> std::path::PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The requests that were made of it.
    fn requests(&self) -> String {
        fs::read_to_string(self.dir.path().join("requests")).unwrap_or_default()
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes `ca.pem`, and `server.pem` and `server.key` for `localhost` by it.
fn certify(dir: &Path) {
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(dir);
        let said = Said::of(command);
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    fs::write(
        dir.join("server.ext"),
        "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile server.ext -out server.pem",
    );
}

#[test]
fn a_build_takes_its_packages_from_the_index_that_the_settings_name_by_the_authority_that_they_name()
 {
    let (host, index) = (Host::new(), Index::start());
    let get = |ca_bundle: &Path| {
        let mut command = host.snaptier(&["get", "python", "made-here==1.0", "--json"]);
        command
            .env("SNAPTIER_PYTHON_INDEX", &index.url)
            .env("SNAPTIER_CA_BUNDLE", ca_bundle)
            // The way to it is not by this host's proxy, if there is one.
            .env("NO_PROXY", "localhost");
        Said::of(command)
    };
    let said = get(&index.ca_bundle());
    let answer: serde_json::Value = serde_json::from_str(said.answer()).unwrap();
    let provenance = &answer["provenance"];
    assert_eq!(
        provenance["resolved"],
        serde_json::json!([{ "name": "made-here", "version": "1.0" }])
    );
    let tools = provenance["tools"].as_array().unwrap();
    let qemu = tools.iter().find(|tool| tool["name"] == "qemu").unwrap();
    assert!(qemu["version"].as_str().unwrap().contains('.'), "{tools:?}");
    let uv = tools.iter().find(|tool| tool["name"] == "uv").unwrap();
    assert!(uv["version"].as_str().unwrap().contains('.'), "{tools:?}");
    assert!(
        index.requests().contains("GET /simple/made-here/"),
        "{}",
        index.requests()
    );

    let run = [
        "run",
        "python",
        "made-here==1.0",
        "--",
        "python3",
        "-c",
        "import made_here; print(made_here.WORD)",
    ];
    assert_eq!(host.says(&run).answer(), "home-made");
}

#[test]
fn an_index_that_cannot_be_used_is_told_without_its_password() {
    let host = Host::new();
    let index = "http://me:secret@mirror.example/simple/";
    let said = host.says(&["--python-index", index, "get", "python", "idna==3.7"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("write https://"), "{said:?}");
    assert!(!said.stderr.contains("secret"), "{said:?}");
}
