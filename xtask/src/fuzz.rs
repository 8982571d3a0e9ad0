//! Fuzzing of what reads bytes that nobody vouches for. It starts from the files in `fixtures/`.

use std::fs;
use std::path::Path;

use clap::ValueEnum;

use crate::Done;
use crate::cargo::{cargo, metadata, run};

const CARGO_FUZZ: &str = "0.13.2";

/// What is fuzzed; the variants are named like the targets in `fuzz/targets` and the folders in `fixtures/`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Target {
    /// Manifests
    Manifest,
    /// Headers and tables of qcow2 files
    Qcow2,
}

/// Fuzzes `target` for so many `seconds`, on a copy of its corpus: what libFuzzer adds to it is no fixture.
/// What makes it fail is one, under a name that says what it shows.
pub(crate) fn fuzz(target: Target, seconds: u32) -> Done {
    let name = match target {
        Target::Manifest => "manifest",
        Target::Qcow2 => "qcow2",
    };
    install()?;
    let metadata = metadata()?;
    let scratch = metadata.target_directory.join("fuzz");
    let (corpus, findings) = (
        scratch.join("corpus").join(name),
        scratch.join("findings").join(name),
    );
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&findings)?;
    let fixtures = metadata.workspace_root.join("fixtures").join(name);
    copy_files(fixtures.as_std_path(), corpus.as_std_path())?;
    let fuzzing = run(cargo()
        // The instrumentation is the compiler's own, and in the stable one it is behind this door.
        .env("RUSTC_BOOTSTRAP", "1")
        .args([
            "fuzz",
            "run",
            "--target-dir",
            scratch.join("build").as_str(),
        ])
        .args([name, corpus.as_str(), "--"])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={findings}/"))
        .arg("-print_final_stats=1")
        .current_dir(&metadata.workspace_root));
    fuzzing.map_err(|error| {
        format!("{error}: what it fails on, if anything was found, is in {findings}").into()
    })
}

fn install() -> Done {
    let found = cargo().args(["fuzz", "--version"]).output()?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    if found.split_whitespace().last() == Some(CARGO_FUZZ) {
        return Ok(());
    }
    run(cargo().args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ]))
}

/// Copies the files of a folder, and those of the folders in it, into one folder.
fn copy_files(from: &Path, to: &Path) -> Done {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            copy_files(&path, to)?;
        } else if let Some(name) = path.file_name() {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
