//! The cargo that runs us.

use std::env;
use std::process::Command;

use cargo_metadata::camino::Utf8PathBuf;
use cargo_metadata::{Metadata, MetadataCommand};

use crate::Done;

/// Runs every test of the workspace, those of what is off by default included, in the long form if so wanted.
pub(crate) fn test(long: bool, args: &[String]) -> Done {
    let mut command = cargo();
    let features = ["--features", "snaptier/prometheus"];
    command
        .args(["test", "--workspace"])
        .args(features)
        .args(args);
    if long {
        command.env("SNAPTIER_LONG_TESTS", "1");
    }
    run(&mut command)
}

/// Builds the command `snaptier` and says where it is.
pub(crate) fn build_snaptier() -> Result<Utf8PathBuf, Box<dyn std::error::Error>> {
    run(cargo().args(["build", "--package", "snaptier"]))?;
    Ok(metadata()?.target_directory.join("debug/snaptier"))
}

pub(crate) fn metadata() -> Result<Metadata, cargo_metadata::Error> {
    MetadataCommand::new().exec()
}

/// Runs a program to its end; its failure is one.
pub(crate) fn run(command: &mut Command) -> Done {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let args: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    Err(format!("`{program} {}` failed with {status}", args.join(" ")).into())
}

pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
