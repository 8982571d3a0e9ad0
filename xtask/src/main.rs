//! The chores of this repository: `cargo xtask setup | test | demo | bench | fuzz | servers | arrows`.

mod arrows;
mod bench;
mod cargo;
mod demo;
mod fuzz;
mod servers;
mod setup;

use std::process::ExitCode;

use clap::Parser;

/// The chores of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Chore {
    /// Install what building and testing need and this host lacks, with its package manager
    Setup,
    /// Set up, then run every test, those with real virtual machines included
    Test {
        /// Try every case of what is tried in part otherwise: minutes more
        #[arg(long)]
        long: bool,
        /// More arguments for `cargo test`
        #[arg(last = true, value_name = "ARG")]
        args: Vec<String>,
    },
    /// Set up, then show the main job: the same request answered by a build, by L2 and by L3
    Demo,
    /// Set up, then measure, and print how the figures stand to each other
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Fuzz what reads bytes that nobody vouches for
    Fuzz {
        target: fuzz::Target,
        /// For how long
        #[arg(long, default_value_t = 60, value_name = "N")]
        seconds: u32,
    },
    /// Start or stop real object stores to develop against
    #[command(subcommand)]
    Servers(servers::Servers),
    /// Check which crate imports which
    Arrows,
}

/// A chore that could not be done, in one line.
type Done = Result<(), Box<dyn std::error::Error>>;

#[expect(clippy::print_stderr, reason = "it is what a command line is for")]
fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Setup => setup::setup(),
        Chore::Test { long, args } => setup::setup().and_then(|()| cargo::test(long, &args)),
        Chore::Demo => setup::setup().and_then(|()| demo::demo()),
        Chore::Bench { what } => setup::setup().and_then(|()| bench::bench(&what)),
        Chore::Fuzz { target, seconds } => fuzz::fuzz(target, seconds),
        Chore::Servers(chore) => servers::servers(chore),
        Chore::Arrows => arrows::arrows(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
