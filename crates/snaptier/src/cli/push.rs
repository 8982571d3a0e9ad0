use std::fs;
use std::path::Path;
use std::time::Instant;

use base_image::ImageStore;
use cache_key::{CacheKey, CanonicalSpec, SnapshotSpec};
use cache_layer::{CacheLayer, Snapshot};
use l2_disk::DiskLayer;
use serde::Deserialize;
use serde_json::json;
use snaptier::Settings;

use super::args::Global;
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::progress::Took;
use super::remote::{key, of_layer, open_disk, remote_layer};
use super::wiring::settings;

/// Sends snapshots of this host to the remote store. What is there already stays.
pub(crate) async fn push(
    global: &Global,
    keys: &[String],
    console: &Console,
) -> Result<(), Failure> {
    let settings = settings(global)?;
    let remote = remote_layer(&settings, console)?;
    let disk = open_disk(&settings)?;
    // Each is found before the first is sent.
    let mut snapshots = Vec::new();
    for text in keys {
        snapshots.push(find(&settings, &disk, &key(text)?).await?);
    }
    for snapshot in &snapshots {
        let began = Instant::now();
        let put = remote.put(snapshot).await;
        put.map_err(|error| of_layer(&error))?;
        console.say(&format!(
            "{}: pushed in {}",
            snapshot.key(),
            Took(began.elapsed())
        ));
    }
    let keys: Vec<_> = snapshots.iter().map(Snapshot::key).collect();
    let lines: Vec<_> = keys.iter().map(ToString::to_string).collect();
    console.answer(&lines.join("\n"), &json!({ "pushed": keys }))?;
    Ok(())
}

/// The snapshot of this name on the local disk, proved as for any other hit.
async fn find(settings: &Settings, disk: &DiskLayer, key: &CacheKey) -> Result<Snapshot, Failure> {
    let missing = || {
        let message = format!("{key} is not on the local disk");
        Failure::of_text(Exit::Request, message)
            .with_hint("`snaptier get` with its packages builds it, and uploads it too")
    };
    let spec = spec(&settings.cache_dir, key).ok_or_else(missing)?;
    let listed = ImageStore::new(&settings.image_dir)?.list().await?;
    let mut images = listed.into_iter().filter_map(|listed| listed.image.ok());
    let image = images.find(|image| image.manifest().digest == spec.base_image());
    let image = image.ok_or_else(|| {
        let digest = spec.base_image().short();
        let message = format!("the base image {digest} of {key} is not on this host any more");
        Failure::of_text(Exit::Host, message)
    })?;
    let spec = SnapshotSpec::new(image.base_image(), spec.packages().clone());
    let found = disk.get(&spec, disk.staging()).await;
    let found = found.map_err(|error| of_layer(&error))?;
    found.hit().ok_or_else(missing)
}

/// What the snapshot of this name was asked for as, by the manifest beside it. What proves it comes later.
fn spec(cache_dir: &Path, key: &CacheKey) -> Option<CanonicalSpec> {
    #[derive(Deserialize)]
    struct Sidecar {
        manifest: Manifest,
    }
    #[derive(Deserialize)]
    struct Manifest {
        spec: CanonicalSpec,
    }

    let json = fs::read(cache_dir.join(format!("{key}.json"))).ok()?;
    let sidecar: Sidecar = serde_json::from_slice(&json).ok()?;
    Some(sidecar.manifest.spec)
}
