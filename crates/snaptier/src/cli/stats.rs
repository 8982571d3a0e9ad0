//! What the tiers and the builder did, in all processes together.

mod ledger;
mod totals;

use std::time::Duration;

use hierarchy::Latency;
use indicatif::HumanBytes;
use serde_json::json;
use snaptier::SnapshotCache;

pub(crate) use self::ledger::Ledger;
use self::totals::{Counts, Totals};
use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::progress::Took;
use super::table::{table, time};
use super::wiring::settings;

/// Prints what was counted, and with `reset` begins anew.
pub(crate) fn stats(global: &Global, reset: bool, console: &Console) -> Result<(), Failure> {
    let ledger = Ledger::in_dir(&settings(global)?.cache_dir);
    let totals = match reset {
        true => ledger.reset()?,
        false => ledger.read()?,
    };
    match totals {
        Some(totals) => console.answer(&text(&totals), &totals)?,
        None => console.answer("nothing has been counted", &json!({ "since": null }))?,
    }
    if reset {
        console.say("counting from nothing again");
    }
    Ok(())
}

/// Adds what caches did to what was counted. There is no runtime any more by then.
pub(crate) fn count(caches: &[(SnapshotCache, Ledger)]) {
    for (cache, ledger) in caches {
        ledger.enter(cache);
    }
}

fn text(totals: &Totals) -> String {
    let tables = [
        of_tiers(totals),
        of_puts(totals),
        of_builder(totals),
        of_outbox(totals),
    ];
    let since = format!("since {}", time(totals.since));
    [since]
        .into_iter()
        .chain(tables)
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn of_tiers(totals: &Totals) -> String {
    let heads = [
        "TIER",
        "HITS",
        "MISSES",
        "SKIPPED",
        "CANCELLED",
        "SERVED",
        "P50",
        "P99",
        "ERRORS",
    ];
    let mut table = table(&heads, &[1, 2, 3, 4, 5, 6, 7]);
    for tier in &totals.layers {
        let count = |name| tier.counts.of(name).to_string();
        table.add_row([
            tier.name.clone(),
            count("hits"),
            count("misses"),
            count("skipped"),
            count("cancelled"),
            HumanBytes(tier.counts.of("bytes_served")).to_string(),
            quantile(&tier.get_latency, 0.5),
            quantile(&tier.get_latency, 0.99),
            errors(&tier.get_errors),
        ]);
    }
    table.trim_fmt()
}

fn of_puts(totals: &Totals) -> String {
    let heads = [
        "TIER",
        "PUTS",
        "SKIPPED",
        "CANCELLED",
        "STORED",
        "P50",
        "P99",
        "ERRORS",
    ];
    let mut table = table(&heads, &[1, 2, 3, 4, 5, 6]);
    for tier in &totals.layers {
        let count = |name| tier.counts.of(name).to_string();
        table.add_row([
            tier.name.clone(),
            count("puts"),
            count("puts_skipped"),
            count("puts_cancelled"),
            HumanBytes(tier.counts.of("bytes_stored")).to_string(),
            quantile(&tier.put_latency, 0.5),
            quantile(&tier.put_latency, 0.99),
            errors(&tier.put_errors),
        ]);
    }
    table.trim_fmt()
}

fn of_builder(totals: &Totals) -> String {
    let heads = [
        "BUILDER",
        "BUILT",
        "HEDGED",
        "CANCELLED",
        "SIZE",
        "P50",
        "P99",
        "ERRORS",
    ];
    let mut table = table(&heads, &[1, 2, 3, 4, 5, 6]);
    let builder = &totals.builder;
    let count = |name| builder.counts.of(name).to_string();
    table.add_row([
        "vm-builder".to_owned(),
        count("built"),
        count("hedged"),
        count("cancelled"),
        HumanBytes(builder.counts.of("bytes_built")).to_string(),
        quantile(&builder.latency, 0.5),
        quantile(&builder.latency, 0.99),
        errors(&builder.errors),
    ]);
    table.trim_fmt()
}

fn of_outbox(totals: &Totals) -> String {
    let heads = [
        "OUTBOX",
        "ADDED",
        "RESUMED",
        "DELIVERED",
        "SET ASIDE",
        "DROPPED",
    ];
    let mut table = table(&heads, &[1, 2, 3, 4]);
    let count = |name| totals.outbox.of(name).to_string();
    table.add_row([
        "uploads".to_owned(),
        count("added"),
        count("resumed"),
        count("delivered"),
        count("set_aside"),
        errors(&totals.outbox.with_prefix("dropped_")),
    ]);
    table.trim_fmt()
}

/// How many, and of which kinds: `3 (deadline 1, denied 2)`.
fn errors(kinds: &Counts) -> String {
    let met: Vec<_> = kinds
        .met()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    match met.is_empty() {
        true => "0".to_owned(),
        false => format!("{} ({})", kinds.total(), met.join(", ")),
    }
}

/// The time that this share of the calls kept to.
fn quantile(latency: &Latency, share: f64) -> String {
    match latency.quantile(share) {
        Some(limit) if limit < Duration::from_millis(1) => format!("{} µs", limit.as_micros()),
        Some(limit) => Took(limit).to_string(),
        None if latency.calls > 0 => "> 36 min".to_owned(),
        None => "-".to_owned(),
    }
}
