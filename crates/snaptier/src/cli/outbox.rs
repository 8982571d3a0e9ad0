use cache_key::CacheKey;
use hierarchy::{Outbox, PendingUpload};
use indicatif::HumanBytes;
use jiff::Timestamp;
use serde_json::json;

use super::args::{Global, OutboxCommand};
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::get::upload;
use super::table::{table, time};
use super::wiring::{keys, local_disk, open, remote_store, settings, staging};

/// Looks after the uploads that are not over. Gives the exit code.
pub(crate) async fn outbox(
    global: &Global,
    command: OutboxCommand,
    console: &Console,
) -> Result<u8, Failure> {
    let settings = settings(global)?;
    let outbox = Outbox::open(staging(&local_disk(&settings)?)?)?;
    match command {
        OutboxCommand::Ls => ls(&outbox, console).await?,
        OutboxCommand::Retry { keys: words } => {
            let remote = remote_store(&settings, console)?;
            let keys = keys(&words)?;
            return retry(global, &outbox, &remote.to_string(), &keys, console).await;
        }
        OutboxCommand::Drop { keys: words } => forget(&outbox, &keys(&words)?, console).await?,
    }
    Ok(Exit::Done as u8)
}

async fn ls(outbox: &Outbox, console: &Console) -> Result<(), Failure> {
    let pending = outbox.pending().await?;
    let heads = [
        "KEY",
        "REMOTE",
        "SIZE",
        "ATTEMPTS",
        "NEXT TRY",
        "LAST ERROR",
    ];
    let mut table = table(&heads, &[2, 3]);
    for upload in &pending {
        table.add_row([
            upload.key.to_string(),
            upload.remote.clone(),
            HumanBytes(upload.bytes).to_string(),
            upload.attempts.to_string(),
            next_try(upload),
            last_error(upload),
        ]);
    }
    let json = json!({ "dir": outbox.dir(), "entries": pending });
    console.answer(&table.trim_fmt(), &json)?;
    Ok(())
}

/// Has the uploads to `remote` made now: those of `keys`, or all. It is no success while one is left.
async fn retry(
    global: &Global,
    outbox: &Outbox,
    remote: &str,
    keys: &[CacheKey],
    console: &Console,
) -> Result<u8, Failure> {
    let wanted = wanted(outbox, remote, keys).await?;
    for key in &wanted {
        outbox.hasten(key).await?;
    }
    let cache = open(global, console)?;
    cache.resume();
    upload(&cache).await;
    let pending = outbox.pending().await?;
    let is_left = |key: &&CacheKey| {
        let mut pending = pending.iter();
        pending.any(|upload| upload.key == **key && upload.remote == remote)
    };
    let (left, over): (Vec<_>, Vec<_>) = wanted.iter().partition(is_left);
    let lines: Vec<_> = over.iter().map(ToString::to_string).collect();
    console.answer(&lines.join("\n"), &json!({ "over": over, "left": left }))?;
    Ok(match left.is_empty() {
        true => Exit::Done as u8,
        false => Exit::Temporary as u8,
    })
}

/// The keys whose upload to `remote` is not over: those of `keys`, which must be among them, or all.
async fn wanted(
    outbox: &Outbox,
    remote: &str,
    keys: &[CacheKey],
) -> Result<Vec<CacheKey>, Failure> {
    let pending = outbox.pending().await?;
    let pending = pending.iter().filter(|upload| upload.remote == remote);
    let pending: Vec<_> = pending.map(|upload| upload.key.clone()).collect();
    if keys.is_empty() {
        return Ok(pending);
    }
    match keys.iter().find(|key| !pending.contains(key)) {
        Some(key) => Err(missing(key, &format!(" to {remote}"))),
        None => Ok(keys.to_vec()),
    }
}

async fn forget(outbox: &Outbox, keys: &[CacheKey], console: &Console) -> Result<(), Failure> {
    let pending = outbox.pending().await?;
    let is_missing = |key: &&CacheKey| pending.iter().all(|upload| upload.key != **key);
    if let Some(key) = keys.iter().find(is_missing) {
        return Err(missing(key, ""));
    }
    for key in keys {
        outbox.forget(key).await?;
    }
    let lines: Vec<_> = keys.iter().map(ToString::to_string).collect();
    console.answer(&lines.join("\n"), &json!({ "dropped": keys }))?;
    Ok(())
}

fn missing(key: &CacheKey, to: &str) -> Failure {
    let message = format!("no upload of {key}{to} is waiting");
    Failure::of_text(Exit::Absent, message).with_hint("`snaptier outbox ls` lists those that are")
}

fn next_try(upload: &PendingUpload) -> String {
    match upload.next_try <= Timestamp::now() {
        true => "now".to_owned(),
        false => time(upload.next_try),
    }
}

fn last_error(upload: &PendingUpload) -> String {
    let error = upload.last_error.as_ref();
    // A cause may be lines long.
    error.map_or_else(String::new, |error| {
        error.message.lines().next().unwrap_or_default().to_owned()
    })
}
