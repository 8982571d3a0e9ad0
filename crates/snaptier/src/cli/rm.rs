use cache_layer::CacheLayer;
use serde_json::json;

use super::args::Global;
use super::console::Console;
use super::failure::Failure;
use super::wiring::{keys, local_disk, settings};

/// Removes snapshots from the local disk. Removing one that is not there succeeds.
pub(crate) async fn rm(
    global: &Global,
    words: &[String],
    console: &Console,
) -> Result<(), Failure> {
    let keys = keys(words)?;
    let disk = local_disk(&settings(global)?)?;
    for key in &keys {
        disk.remove(key).await.map_err(|error| {
            Failure::from(error).with_hint("a snapshot can be removed when nobody uses it any more")
        })?;
    }
    let lines: Vec<_> = keys.iter().map(ToString::to_string).collect();
    console.answer(&lines.join("\n"), &json!({ "removed": keys }))?;
    Ok(())
}
