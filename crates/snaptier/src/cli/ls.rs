use cache_layer::Manifest;
use indicatif::HumanBytes;
use jiff::Timestamp;
use l2_disk::Entry;
use serde_json::{Value, json};

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::table::{table, time};
use super::wiring::{local_disk, settings};

/// Lists the snapshots on the local disk.
pub(crate) async fn ls(global: &Global, console: &Console) -> Result<(), Failure> {
    let disk = local_disk(&settings(global)?)?;
    let mut table = table(&["KEY", "SIZE", "LAST USED", "BUILT", "PACKAGES"], &[1]);
    let mut listed = Vec::new();
    let mut total = 0;
    for entry in disk.entries().await? {
        let manifest = match disk.manifest(&entry.key).await {
            Ok(manifest) => manifest,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(key = %entry.key, error, "a snapshot's manifest cannot be used");
                None
            }
        };
        total += entry.disk_bytes;
        table.add_row([
            entry.key.to_string(),
            HumanBytes(entry.disk_bytes).to_string(),
            time(entry.last_used),
            manifest.as_ref().map_or_else(|| "?".to_owned(), built),
            manifest.as_ref().map_or_else(|| "?".to_owned(), packages),
        ]);
        listed.push(with_manifest(&entry, manifest.as_ref()));
    }
    let json = json!({
        "dir": disk.root(),
        "disk_bytes": total,
        "max_bytes": disk.budget().max_bytes,
        "entries": listed,
    });
    console.answer(&table.trim_fmt(), &json)?;
    console.say(&format!(
        "{} snapshots, {} in {}",
        listed.len(),
        HumanBytes(total),
        disk.root().display()
    ));
    Ok(())
}

/// An entry as JSON has it, here and elsewhere.
pub(crate) fn of_entry(entry: &Entry) -> Value {
    json!({
        "key": entry.key,
        "disk_bytes": entry.disk_bytes,
        "file_bytes": entry.file_bytes,
        "last_used": Timestamp::try_from(entry.last_used).ok(),
    })
}

fn with_manifest(entry: &Entry, manifest: Option<&Manifest>) -> Value {
    let mut json = of_entry(entry);
    json["manifest"] = json!(manifest);
    json
}

fn built(manifest: &Manifest) -> String {
    time(manifest.provenance().built_at)
}

/// As many packages as a line has room for.
fn packages(manifest: &Manifest) -> String {
    const ROOM: usize = 48;
    let packages: Vec<_> = manifest.spec().packages().iter().collect();
    let mut text = String::new();
    for (at, package) in packages.iter().enumerate() {
        if at > 0 && text.len() + package.len() >= ROOM {
            return format!("{text} and {} more", packages.len() - at);
        }
        text = format!("{text}{}{package}", if at > 0 { " " } else { "" });
    }
    text
}
