use std::num::NonZero;

use cache_key::CacheKey;
use cache_layer::{CacheLayer, LayerError, LayerErrorKind};
use clap::Subcommand;
use comfy_table::{CellAlignment, Table, presets};
use futures::TryStreamExt;
use indicatif::HumanBytes;
use l2_disk::DiskLayer;
use l3_remote::{RemoteEntry, RemoteLayer, RemoteStat, lifecycle};
use serde_json::{Value, json};
use snaptier::{OpenError, Settings};

use super::args::Global;
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::wiring::settings;

#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// List the snapshots in the remote store
    Ls,
    /// Print what a snapshot in the remote store says about itself
    Stat {
        /// A cache key
        key: String,
    },
    /// Remove snapshots from the remote store; one that is not there is no error
    Rm {
        /// Cache keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Fetch snapshots, check every byte of them, and keep nothing
    Verify {
        /// Cache keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Print the rules that have the bucket's snapshots expire, for the store's own tools
    Lifecycle {
        /// Days from an upload to its removal
        #[arg(long, value_name = "DAYS", default_value = "30")]
        ttl_days: NonZero<u32>,
    },
}

/// Looks after the remote store.
pub(crate) async fn remote(
    global: &Global,
    command: RemoteCommand,
    console: &Console,
) -> Result<(), Failure> {
    let settings = settings(global)?;
    let layer = remote_layer(&settings, console)?;
    match command {
        RemoteCommand::Ls => ls(&layer, console).await,
        RemoteCommand::Stat { key: text } => stat(&layer, &key(&text)?, console).await,
        RemoteCommand::Rm { keys } => rm(&layer, &keys, console).await,
        RemoteCommand::Verify { keys } => {
            verify(&layer, &open_disk(&settings)?, &keys, console).await
        }
        RemoteCommand::Lifecycle { ttl_days } => print_lifecycle(&layer, ttl_days, console),
    }
}

async fn ls(layer: &RemoteLayer, console: &Console) -> Result<(), Failure> {
    let listed = layer.list().try_collect().await;
    let listed: Vec<RemoteEntry> = listed.map_err(|error| of_layer(&error))?;
    let json: Vec<_> = listed.iter().map(of_entry).collect();
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["KEY", "SIZE", "WRITTEN"]);
    for entry in &listed {
        table.add_row([
            entry.key.to_string(),
            HumanBytes(entry.bytes).to_string(),
            written(entry),
        ]);
    }
    if let Some(size) = table.column_mut(1) {
        size.set_cell_alignment(CellAlignment::Right);
    }
    console.answer(&table.trim_fmt(), &json)?;
    Ok(())
}

async fn stat(layer: &RemoteLayer, key: &CacheKey, console: &Console) -> Result<(), Failure> {
    let found = layer.stat(key).await.map_err(|error| of_layer(&error))?;
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
        }
        None => lines.push("manifest  none that can be read".to_owned()),
    }
    let mut json = of_entry(&entry);
    json["manifest"] = json!(manifest);
    console.answer(&lines.join("\n"), &json)?;
    Ok(())
}

async fn rm(layer: &RemoteLayer, keys: &[String], console: &Console) -> Result<(), Failure> {
    let keys = all(keys)?;
    for key in &keys {
        let removed = layer.remove(key).await;
        removed.map_err(|error| of_layer(&error))?;
    }
    console.answer(&lines(&keys), &json!({ "removed": keys }))?;
    Ok(())
}

async fn verify(
    layer: &RemoteLayer,
    disk: &DiskLayer,
    keys: &[String],
    console: &Console,
) -> Result<(), Failure> {
    let keys = all(keys)?;
    for key in &keys {
        let verified = layer.verify(key, disk.staging()).await;
        let verified = verified.map_err(|error| of_layer(&error))?;
        verified.ok_or_else(|| missing(layer, key))?;
        console.say(&format!("{key}: sound"));
    }
    console.answer(&lines(&keys), &json!({ "sound": keys }))?;
    Ok(())
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

/// The remote tier that the settings name.
pub(crate) fn remote_layer(settings: &Settings, console: &Console) -> Result<RemoteLayer, Failure> {
    let location = settings.remote.clone().ok_or_else(|| {
        Failure::of_text(
            Exit::Request,
            "the remote cache is disabled: no store is named",
        )
        .with_hint("name one with --remote or SNAPTIER_REMOTE")
    })?;
    let layer = RemoteLayer::new(location).map_err(|error| of_layer(&error))?;
    Ok(layer
        .with_max_concurrent_uploads(settings.max_concurrent_uploads)
        .with_progress(console.progress()))
}

pub(crate) fn open_disk(settings: &Settings) -> Result<DiskLayer, Failure> {
    let path = &settings.cache_dir;
    DiskLayer::open(path).map_err(|source| {
        let path = path.clone();
        OpenError::CacheDir { path, source }.into()
    })
}

pub(crate) fn key(text: &str) -> Result<CacheKey, Failure> {
    text.parse()
        .map_err(|error| Failure::new(Exit::Request, &error))
}

/// What the caller can do about an error of a tier, as an exit code.
pub(crate) fn of_layer(error: &LayerError) -> Failure {
    let exit = match error.kind() {
        LayerErrorKind::Unavailable { temporary: true } => Exit::Temporary,
        LayerErrorKind::Unavailable { .. }
        | LayerErrorKind::Denied
        | LayerErrorKind::OutOfSpace => Exit::Host,
        _ => Exit::Failed,
    };
    Failure::new(exit, error)
}

fn all(keys: &[String]) -> Result<Vec<CacheKey>, Failure> {
    keys.iter().map(|text| key(text)).collect()
}

fn lines(keys: &[CacheKey]) -> String {
    let lines: Vec<_> = keys.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn missing(layer: &RemoteLayer, key: &CacheKey) -> Failure {
    Failure::of_text(
        Exit::Failed,
        format!("{key} is not in {}", layer.location()),
    )
}

fn written(entry: &RemoteEntry) -> String {
    let known = entry.modified;
    known.map_or_else(String::new, |time| time.strftime("%F %R").to_string())
}

fn of_entry(entry: &RemoteEntry) -> Value {
    let modified = entry.modified.map(|time| time.to_string());
    json!({ "key": entry.key, "bytes": entry.bytes, "modified": modified })
}
