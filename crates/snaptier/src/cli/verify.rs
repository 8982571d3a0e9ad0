use cache_key::CacheKey;
use cache_layer::{InPhase, Phase};
use l2_disk::{Audit, Audited, DiskLayer};
use serde_json::json;

use super::args::Global;
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::table::table;
use super::wiring::{keys, local_disk};

/// Verifies the snapshots that are named, or all. Gives the exit code.
pub(crate) async fn verify(
    global: &Global,
    words: &[String],
    console: &Console,
) -> Result<u8, Failure> {
    let named = keys(words)?;
    let disk = local_disk(global)?;
    let keys = if named.is_empty() {
        let entries = disk.entries().await?.into_iter();
        entries.map(|entry| entry.key).collect()
    } else {
        named
    };
    let mut table = table(&["KEY", "RESULT", "WHY"], &[]);
    let mut results = Vec::new();
    let (mut exit, audit, progress) = (Exit::Done, Audit::default(), console.progress());
    for key in keys {
        let audited = {
            let _phase = InPhase::begin(progress.as_ref(), &key, Phase::Verify);
            disk.verify(&key, &audit).await?
        };
        let (result, why) = match &audited {
            Audited::Sound => ("sound", None),
            Audited::NoManifest => ("no manifest", None),
            // It was there when they were listed.
            Audited::Absent if words.is_empty() => continue,
            Audited::Absent => return Err(absent(&key, &disk)),
            Audited::Unusable(why) => ("unusable", Some(why.as_str())),
            _ => ("unknown", None),
        };
        if why.is_some() {
            exit = Exit::Unsound;
        }
        table.add_row([&key.to_string(), result, why.unwrap_or_default()]);
        results.push(json!({ "key": key, "result": result, "why": why }));
    }
    console.answer(&table.trim_fmt(), &json!({ "entries": results }))?;
    Ok(exit as u8)
}

fn absent(key: &CacheKey, disk: &DiskLayer) -> Failure {
    let root = disk.root().display();
    Failure::of_text(
        Exit::Request,
        format!("there is no snapshot {key} in `{root}`"),
    )
    .with_hint("`snaptier ls` lists the keys that there are")
}
