//! Benches, and what their figures come to beside each other: a ratio of one run says more than a time, which is
//! another on every machine.

mod l2;

use std::fs;
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
}

pub(crate) fn bench(what: &Bench) -> Done {
    match what {
        Bench::L2 => l2::l2(),
    }
}

/// A figure beside the one that it is to stay below.
struct Bound {
    what: &'static str,
    found: f64,
    at_most: f64,
    unit: &'static str,
}

/// Runs the criterion bench `name` of `package`.
fn criterion(package: &str, name: &str) -> Done {
    run(cargo().args(["bench", "--package", package, "--bench", name]))
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

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
fn print_times(times: &[(&str, Duration)]) {
    let mut table = table(&["BENCH", "MEDIAN"]);
    for (name, time) in times {
        table.add_row([name, text(*time).as_str()]);
    }
    println!("\n{}", table.trim_fmt());
}

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
fn print_bounds(bounds: &[Bound]) {
    let mut table = table(&["RATIO", "FOUND", "AT MOST", ""]);
    for bound in bounds {
        table.add_row([
            bound.what.to_owned(),
            format!("{:.2}{}", bound.found, bound.unit),
            format!("{:.2}{}", bound.at_most, bound.unit),
            if bound.found <= bound.at_most {
                "kept".to_owned()
            } else {
                "MISSED".to_owned()
            },
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
