//! Fuzzing of what reads bytes that nobody vouches for.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

use crate::Done;
use crate::cargo::{cargo, metadata, run};

/// The fuzzer, by whose command line the targets are built and run.
const CARGO_FUZZ: &str = "0.13.2";

/// What can be fuzzed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Target {
    /// The header and the tables of a qcow2 file
    Qcow2,
    /// A manifest's JSON
    Manifest,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Manifest => "manifest",
        }
    }
}

/// Fuzzes for so many seconds, from a copy of the fixtures: what is found along the way stays out of them.
pub(crate) fn fuzz(target: Target, seconds: u32) -> Done {
    install()?;
    let metadata = metadata()?;
    let corpus = metadata.target_directory.join("fuzz").join(target.name());
    fs::create_dir_all(&corpus)?;
    let fixtures = metadata.workspace_root.join("fixtures").join(target.name());
    copy_files(fixtures.as_std_path(), corpus.as_std_path())?;
    // The instrumentation is no part of the stable compiler's promises, and is there all the same. No sanitizer:
    // what is fuzzed has no unsafe code.
    let mut command = cargo();
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "run", "--sanitizer", "none", target.name()])
        .arg(&corpus)
        .args(["--", &format!("-max_total_time={seconds}")])
        .args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=65536"]);
    run(&mut command)
}

fn install() -> Done {
    let said = Command::new("cargo-fuzz").arg("--version").output();
    let is_there = said.is_ok_and(|said| {
        let version = String::from_utf8_lossy(&said.stdout);
        version.split_whitespace().any(|word| word == CARGO_FUZZ)
    });
    if is_there {
        return Ok(());
    }
    let install = ["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ];
    run(cargo().args(install))
}

/// Copies the files of `from`, and of the folders in it, into the one folder `to`.
fn copy_files(from: &Path, to: &Path) -> Done {
    for entry in from.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            copy_files(&path, to)?;
        } else if let Some(name) = path.file_name() {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
