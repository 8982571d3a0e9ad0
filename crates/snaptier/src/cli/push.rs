use std::time::Instant;

use base_image::ImageStore;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{CacheLayer, Snapshot};
use l2_disk::DiskLayer;
use serde_json::json;
use snaptier::Settings;

use super::args::Global;
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::get::upload;
use super::progress::Took;
use super::wiring::{keys, local_disk, open, remote_store, settings, staging};

/// Sends snapshots of this host to the remote store. What is there already stays.
pub(crate) async fn push(
    global: &Global,
    words: &[String],
    console: &Console,
) -> Result<(), Failure> {
    let keys = keys(words)?;
    let settings = settings(global)?;
    let remote = remote_store(&settings, console)?;
    let disk = local_disk(&settings)?;
    // Each is found before the first is sent.
    let mut snapshots = Vec::new();
    for key in &keys {
        snapshots.push(find(&settings, &disk, key).await?);
    }
    let cache = open(global, console)?;
    for snapshot in &snapshots {
        let began = Instant::now();
        remote.put(snapshot).await?;
        if let Some(outbox) = cache.outbox() {
            outbox.settle(snapshot.key(), &remote).await;
        }
        let took = Took(began.elapsed());
        console.say(&format!("{}: pushed in {took}", snapshot.key()));
    }
    let lines: Vec<_> = keys.iter().map(ToString::to_string).collect();
    console.answer(&lines.join("\n"), &json!({ "pushed": keys }))?;
    // The store is there: what earlier commands could not upload goes along.
    cache.resume();
    upload(&cache).await;
    Ok(())
}

/// The snapshot of this name on the local disk, proved as for any other hit.
async fn find(settings: &Settings, disk: &DiskLayer, key: &CacheKey) -> Result<Snapshot, Failure> {
    let missing = || {
        let message = format!("there is no snapshot {key} in `{}`", disk.root().display());
        Failure::of_text(Exit::Absent, message)
            .with_hint("`snaptier get` with its packages builds it, and uploads it too")
    };
    let manifest = disk.manifest(key).await;
    let manifest = manifest.map_err(|error| Failure::new(Exit::Failed, &error))?;
    let spec = manifest.as_ref().ok_or_else(missing)?.spec();
    let listed = ImageStore::new(&settings.image_dir)?.list().await?;
    let mut images = listed.into_iter().filter_map(|listed| listed.image.ok());
    let image = images.find(|image| image.manifest().digest == spec.base_image());
    let image = image.ok_or_else(|| {
        let digest = spec.base_image().short();
        let message = format!("the base image {digest} of {key} is not on this host any more");
        Failure::of_text(Exit::Host, message)
    })?;
    let spec = SnapshotSpec::new(image.base_image(), spec.packages().clone());
    let found = disk.get(&spec, staging(disk)?).await?;
    found.hit().ok_or_else(missing)
}
