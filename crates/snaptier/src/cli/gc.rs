use indicatif::HumanBytes;
use l2_disk::Eviction;
use serde_json::json;

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::ls::of_entry;
use super::table::{table, time};
use super::wiring::{local_disk, settings};

/// Evicts what the budget has no room for, or says what would go.
pub(crate) async fn gc(global: &Global, dry_run: bool, console: &Console) -> Result<(), Failure> {
    let disk = local_disk(&settings(global)?)?;
    let budget = disk.budget();
    let done = if dry_run {
        disk.plan_collection(budget).await?
    } else {
        disk.collect(budget).await?
    };
    let json = json!({
        "dry_run": dry_run,
        "evicted": done.evicted.iter().map(of_entry).collect::<Vec<_>>(),
        "freed_bytes": done.freed_bytes(),
        "kept": done.kept,
        "kept_bytes": done.kept_bytes,
        "shortfall_bytes": done.shortfall,
    });
    console.answer(&evicted(&done), &json)?;
    if !budget.is_limited() {
        console.say("no limit is set: give --max-size or --min-free for something to go");
    }
    console.say(&format!(
        "{} {} snapshots, {}; {} stay, {}",
        if dry_run { "would evict" } else { "evicted" },
        done.evicted.len(),
        HumanBytes(done.freed_bytes()),
        done.kept,
        HumanBytes(done.kept_bytes)
    ));
    if done.shortfall > 0 {
        let missing = HumanBytes(done.shortfall);
        tracing::warn!("{missing} too little could go: the rest is in use, or is not snapshots");
    }
    Ok(())
}

fn evicted(done: &Eviction) -> String {
    let mut table = table(&["EVICTED", "SIZE", "LAST USED"], &[1]);
    for entry in &done.evicted {
        table.add_row([
            entry.key.to_string(),
            HumanBytes(entry.disk_bytes).to_string(),
            time(entry.last_used),
        ]);
    }
    table.trim_fmt()
}
