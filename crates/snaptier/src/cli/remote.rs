use std::num::NonZero;

use cache_key::CacheKey;
use cache_layer::{CacheLayer, LayerErrorKind};
use futures::TryStreamExt;
use indicatif::HumanBytes;
use l2_disk::DiskLayer;
use l3_remote::{RemoteEntry, RemoteLayer, RemoteStat, lifecycle};
use serde_json::{Value, json};

use super::args::{Global, RemoteCommand};
use super::console::Console;
use super::exit::Exit;
use super::failure::{Failure, chain};
use super::table::{table, time};
use super::verify::Verified;
use super::wiring::{keys, local_disk, remote_store, settings, staging};

/// Looks after the remote store. Gives the exit code.
pub(crate) async fn remote(
    global: &Global,
    command: RemoteCommand,
    console: &Console,
) -> Result<u8, Failure> {
    let settings = settings(global)?;
    let layer = remote_store(&settings, console)?;
    match command {
        RemoteCommand::Ls => ls(&layer, console).await?,
        RemoteCommand::Stat { key } => stat(&layer, &key.parse()?, console).await?,
        RemoteCommand::Rm { keys: words } => rm(&layer, &keys(&words)?, console).await?,
        RemoteCommand::Verify { keys: words } => {
            return verify(&layer, &local_disk(&settings)?, &keys(&words)?, console).await;
        }
        RemoteCommand::Lifecycle { ttl_days } => print_lifecycle(&layer, ttl_days, console)?,
    }
    Ok(Exit::Done as u8)
}

async fn ls(layer: &RemoteLayer, console: &Console) -> Result<(), Failure> {
    let listed: Vec<RemoteEntry> = layer.list().try_collect().await?;
    let mut table = table(&["KEY", "SIZE", "WRITTEN"], &[1]);
    for entry in &listed {
        table.add_row([
            entry.key.to_string(),
            HumanBytes(entry.bytes).to_string(),
            written(entry),
        ]);
    }
    let json: Vec<_> = listed.iter().map(of_entry).collect();
    console.answer(&table.trim_fmt(), &json!({ "entries": json }))?;
    Ok(())
}

async fn stat(layer: &RemoteLayer, key: &CacheKey, console: &Console) -> Result<(), Failure> {
    let found = layer.stat(key).await?;
    let RemoteStat {
        entry, manifest, ..
    } = found.ok_or_else(|| missing(layer, key))?;
    let mut lines = vec![
        entry.key.to_string(),
        format!("size      {}", HumanBytes(entry.bytes)),
        format!("written   {}", written(&entry)),
    ];
    match &manifest {
        Some(manifest) => {
            let (disk, built) = (manifest.disk(), manifest.provenance());
            let packages: Vec<_> = manifest.spec().packages().iter().collect();
            lines.extend([
                format!("unpacked  {}", HumanBytes(disk.file_bytes)),
                format!("packages  {}", packages.join(" ")),
                format!("base      {}", manifest.spec().base_image()),
                format!("built     {} by {}", built.built_at, built.built_by),
            ]);
            if !built.tools.is_empty() {
                let tools: Vec<_> = built.tools.iter().map(ToString::to_string).collect();
                lines.push(format!("with      {}", tools.join(", ")));
            }
        }
        None => lines.push("manifest  none that can be read".to_owned()),
    }
    let mut json = of_entry(&entry);
    json["manifest"] = json!(manifest);
    console.answer(&lines.join("\n"), &json)?;
    Ok(())
}

async fn rm(layer: &RemoteLayer, keys: &[CacheKey], console: &Console) -> Result<(), Failure> {
    for key in keys {
        layer.remove(key).await?;
    }
    let lines: Vec<_> = keys.iter().map(ToString::to_string).collect();
    console.answer(&lines.join("\n"), &json!({ "removed": keys }))?;
    Ok(())
}

async fn verify(
    layer: &RemoteLayer,
    disk: &DiskLayer,
    keys: &[CacheKey],
    console: &Console,
) -> Result<u8, Failure> {
    let mut results = Verified::default();
    for key in keys {
        match layer.verify(key, staging(disk)?).await {
            Ok(Some(_)) => results.add(key, "sound", None),
            Ok(None) => return Err(missing(layer, key)),
            Err(error) if error.kind() == LayerErrorKind::Corrupt => {
                results.add(key, "unusable", Some(&chain(&error)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    results.answer(console)
}

fn print_lifecycle(
    layer: &RemoteLayer,
    ttl_days: NonZero<u32>,
    console: &Console,
) -> Result<(), Failure> {
    let location = layer.location();
    let rules = lifecycle(location.kind(), location.prefix(), ttl_days).ok_or_else(|| {
        let message = format!("{location} is no bucket, and has no lifecycle rules");
        Failure::of_text(Exit::Request, message)
    })?;
    let json: Value = serde_json::from_str(&rules).unwrap_or_default();
    console.answer(&rules, &json)?;
    Ok(())
}

fn missing(layer: &RemoteLayer, key: &CacheKey) -> Failure {
    Failure::of_text(
        Exit::Absent,
        format!("{key} is not in {}", layer.location()),
    )
}

fn written(entry: &RemoteEntry) -> String {
    let known = entry.modified;
    known.map_or_else(String::new, time)
}

fn of_entry(entry: &RemoteEntry) -> Value {
    let modified = entry.modified.map(|time| time.to_string());
    json!({ "key": entry.key, "bytes": entry.bytes, "modified": modified })
}
