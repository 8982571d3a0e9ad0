//! Benches, and what their figures come to beside each other: a ratio of one run says more than a time, which is
//! another on every machine.

mod build;
mod hierarchy;
mod l2;
mod l3;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Subcommand;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::Done;
use crate::cargo::{cargo, metadata, run};

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The local disk: hits, misses, storing, evicting
    L2,
    /// The hierarchy: what it adds to the local disk, alone and for many at once
    Hierarchy,
    /// The remote store: uploads and downloads on real servers, near and far
    L3 {
        /// A peer's script to measure beside: called with a snapshot, a directory and an endpoint, it prints JSON
        #[arg(long, value_name = "SCRIPT")]
        peer: Option<PathBuf>,
        /// The Python that has what the peer's script needs
        #[arg(long, value_name = "PROGRAM", default_value = "python3")]
        python: String,
    },
    /// A build: its phases, beside what it cannot do without
    Build,
}

pub(crate) fn bench(what: &Bench) -> Done {
    match what {
        Bench::L2 => l2::l2(),
        Bench::Build => build::build(),
        Bench::Hierarchy => hierarchy::hierarchy(),
        Bench::L3 { peer, python } => l3::l3(peer.as_deref(), python),
    }
}

/// A figure beside the one that it is held against.
struct Bound {
    what: String,
    found: f64,
    limit: Limit,
    unit: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// Runs the criterion bench `name` of `package`.
fn criterion(package: &str, name: &str) -> Done {
    run(cargo().args(["bench", "--package", package, "--bench", name]))
}

/// The objects that the bench prints, a line each.
fn lines(bench: &mut Command) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let output = bench.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the bench failed with {}", output.status).into());
    }
    let said = String::from_utf8(output.stdout)?;
    let lines = said.lines().filter(|line| line.starts_with('{'));
    Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// The median that the last run of the criterion bench `name` measured.
fn median(name: &str) -> Result<Duration, Box<dyn std::error::Error>> {
    // As criterion makes a folder's name of a bench's.
    let folder = name.replace(['?', '"', '\\', '*', '<', '>', ':', '|', '^'], "_");
    let file = metadata()?
        .target_directory
        .join("criterion")
        .join(folder)
        .join("new/estimates.json");
    let estimates: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let nanoseconds = estimates["median"]["point_estimate"].as_f64();
    let nanoseconds = nanoseconds.ok_or_else(|| format!("no median in {file}"))?;
    Ok(Duration::from_nanos(nanoseconds as u64))
}

/// Seconds, each as a bar; the longest has its full length.
#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
fn print_bars(bars: &[(&str, f64)]) {
    const FULL: f64 = 50.0;
    let longest = bars.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    let width = bars.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, seconds) in bars {
        let bar = "█".repeat((FULL * seconds / longest).round() as usize);
        println!("{name:width$} {seconds:7.2} s {bar}");
    }
}

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
fn print_rows(heads: [&str; 2], rows: impl Iterator<Item = [String; 2]>) {
    let mut table = table(&heads);
    table.add_rows(rows);
    println!("\n{}", table.trim_fmt());
}

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
fn print_bounds(bounds: &[Bound]) {
    let mut table = table(&["RATIO", "FOUND", "WANTED", ""]);
    for bound in bounds {
        let (sign, limit, is_kept) = match bound.limit {
            Limit::AtMost(limit) => ("≤", limit, bound.found <= limit),
            Limit::AtLeast(limit) => ("≥", limit, bound.found >= limit),
        };
        table.add_row([
            bound.what.clone(),
            format!("{:.2}{}", bound.found, bound.unit),
            format!("{sign} {limit:.2}{}", bound.unit),
            if is_kept { "kept" } else { "MISSED" }.to_owned(),
        ]);
    }
    println!("\n{}\n", table.trim_fmt());
}

fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(heads);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn text(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        1.0.. => format!("{seconds:.2} s"),
        0.001.. => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.2} µs", seconds * 1e6),
    }
}
