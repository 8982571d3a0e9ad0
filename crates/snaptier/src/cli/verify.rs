use cache_key::CacheKey;
use cache_layer::{InPhase, Phase};
use comfy_table::Table;
use l2_disk::{Audit, Audited, DiskLayer};
use serde_json::{Value, json};

use super::args::Global;
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::table::table;
use super::wiring::{keys, local_disk, settings};

/// Verifies the snapshots that are named, or all. Gives the exit code.
pub(crate) async fn verify(
    global: &Global,
    words: &[String],
    console: &Console,
) -> Result<u8, Failure> {
    let named = keys(words)?;
    let disk = local_disk(&settings(global)?)?;
    let keys = if named.is_empty() {
        let entries = disk.entries().await?.into_iter();
        entries.map(|entry| entry.key).collect()
    } else {
        named
    };
    let (mut results, audit, progress) =
        (Verified::default(), Audit::default(), console.progress());
    for key in keys {
        let phase = InPhase::begin(progress.as_ref(), &key, Phase::Verify);
        let audited = disk.verify(&key, &audit).await?;
        match audited {
            Audited::Sound | Audited::NoManifest => phase.done(),
            _ => drop(phase),
        }
        match audited {
            Audited::Sound => results.add(&key, "sound", None),
            Audited::NoManifest => results.add(&key, "no manifest", None),
            // It was there when they were listed.
            Audited::Absent if words.is_empty() => {}
            Audited::Absent => return Err(absent(&key, &disk)),
            Audited::Unusable(why) => results.add(&key, "unusable", Some(&why)),
            _ => results.add(&key, "unknown", None),
        }
    }
    results.answer(console)
}

/// What became of the snapshots that were verified.
pub(crate) struct Verified {
    table: Table,
    json: Vec<Value>,
    exit: Exit,
}

impl Default for Verified {
    fn default() -> Self {
        Self {
            table: table(&["KEY", "RESULT", "WHY"], &[]),
            json: Vec::new(),
            exit: Exit::Done,
        }
    }
}

impl Verified {
    /// One more; `why` it cannot be used, if it cannot.
    pub(crate) fn add(&mut self, key: &CacheKey, result: &str, why: Option<&str>) {
        if why.is_some() {
            self.exit = Exit::Unsound;
        }
        let row = [&key.to_string(), result, why.unwrap_or_default()];
        self.table.add_row(row);
        self.json
            .push(json!({ "key": key, "result": result, "why": why }));
    }

    /// Prints it, and gives the exit code.
    pub(crate) fn answer(self, console: &Console) -> Result<u8, Failure> {
        let json = json!({ "entries": self.json });
        console.answer(&self.table.trim_fmt(), &json)?;
        Ok(self.exit as u8)
    }
}

fn absent(key: &CacheKey, disk: &DiskLayer) -> Failure {
    let root = disk.root().display();
    Failure::of_text(
        Exit::Absent,
        format!("there is no snapshot {key} in `{root}`"),
    )
    .with_hint("`snaptier ls` lists the keys that there are")
}
