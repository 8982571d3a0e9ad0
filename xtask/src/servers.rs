//! Real object stores for a developer's own use, left running until they are told to stop.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use comfy_table::{Table, presets};
use store_testkit::servers::{ALL, Detached, Shelf, Stopped, StoreServer};

use crate::Done;

#[derive(Debug, Subcommand)]
pub(crate) enum Servers {
    /// Start them, installing what is missing, and say how to use them
    Up {
        /// Which; all of them by default
        #[arg(value_name = "SERVER", value_parser = server)]
        servers: Vec<&'static dyn StoreServer>,
    },
    /// Stop them; their data stay
    Down {
        /// Which; all of them by default
        #[arg(value_name = "SERVER", value_parser = server)]
        servers: Vec<&'static dyn StoreServer>,
    },
}

const BUCKET: &str = "snaptier";
const PREFIX: &str = "dev";

pub(crate) fn servers(chore: Servers) -> Done {
    match chore {
        Servers::Up { servers } => up(&or_all(servers)),
        Servers::Down { servers } => down(&or_all(servers)),
    }
}

fn server(name: &str) -> Result<&'static dyn StoreServer, String> {
    let names = || ALL.map(StoreServer::name).join(", ");
    ALL.into_iter()
        .find(|server| server.name() == name)
        .ok_or_else(|| format!("there are {}", names()))
}

fn or_all(servers: Vec<&'static dyn StoreServer>) -> Vec<&'static dyn StoreServer> {
    if servers.is_empty() {
        return ALL.to_vec();
    }
    servers
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is what a command line is for"
)]
fn up(servers: &[&'static dyn StoreServer]) -> Done {
    let shelf = Shelf::of_workspace();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "SERVER",
        "ENDPOINT",
        "--remote",
        "ENVIRONMENT",
    ]);
    let mut exports = String::new();
    let mut faults = Vec::new();
    for server in servers {
        eprintln!("Starting {}", server.name());
        let started = Detached::start(&shelf, *server, &dir(*server))
            .and_then(|started| started.make_bucket(BUCKET));
        let bucket = match started {
            Ok(bucket) => bucket,
            Err(error) => {
                faults.push(with_source(&error));
                continue;
            }
        };
        let variables: Vec<_> = bucket
            .environment()
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        for variable in &variables {
            let export = format!("export {variable}\n");
            if !exports.contains(&export) {
                exports.push_str(&export);
            }
        }
        table.add_row([
            server.name(),
            &bucket.endpoint,
            &bucket.remote_uri(PREFIX),
            &variables.join("\n"),
        ]);
    }
    let env = run_dir().join("env");
    fs::create_dir_all(run_dir()).and_then(|()| fs::write(&env, exports))?;
    println!("{}\n", table.trim_fmt());
    println!("For the environment: . {}", env.display());
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("\n       ").into())
}

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
fn down(servers: &[&'static dyn StoreServer]) -> Done {
    for server in servers {
        let name = server.name();
        match Detached::stop(&dir(*server)).map_err(|error| with_source(&error))? {
            Stopped::Now { pid } => println!("{name}: stopped, process {pid}"),
            Stopped::Before => println!("{name}: had ended by itself"),
            Stopped::Never => println!("{name}: was not started"),
        }
    }
    Ok(())
}

fn run_dir() -> PathBuf {
    Shelf::of_workspace().root().join("run")
}

fn dir(server: &dyn StoreServer) -> PathBuf {
    run_dir().join(server.name())
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_name_and_an_unknown_one_told_with_those_that_are() {
        assert_eq!(server("moto").map(StoreServer::name), Ok("moto"));
        let error = server("minio").map(StoreServer::name).unwrap_err();
        assert!(
            error.starts_with("there are s3s-fs, seaweedfs, "),
            "{error}"
        );
    }

    #[test]
    fn no_name_means_all() {
        assert_eq!(or_all(Vec::new()).len(), ALL.len());
        assert_eq!(or_all(vec![ALL[1]]).len(), 1);
    }
}
