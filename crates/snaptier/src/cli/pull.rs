use std::time::Instant;

use cache_layer::CacheLayer;
use serde_json::json;

use super::args::{Global, Request};
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::progress::Took;
use super::wiring::{local_disk, packages, remote_store, settings, spec, staging};

/// Brings a snapshot from the remote store to the local disk, and builds nothing. Prints its path.
pub(crate) async fn pull(
    global: &Global,
    request: &Request,
    console: &Console,
) -> Result<(), Failure> {
    let packages = packages(request)?;
    let settings = settings(global)?;
    let remote = remote_store(&settings, console)?;
    let disk = local_disk(&settings)?;
    let spec = spec(&settings, packages, "a snapshot lies over a base image").await?;

    let began = Instant::now();
    let received = remote.get(&spec, staging(&disk)?).await?;
    let received = received.hit().ok_or_else(|| {
        let message = format!("{} is not in {}", spec.key(), remote.location());
        Failure::of_text(Exit::Absent, message).with_hint("`snaptier get` builds it")
    })?;
    let stored = disk.put(&received).await?;
    let took = Took(began.elapsed());
    console.say(&format!("{}: pulled in {took}", stored.key()));
    let manifest = stored.manifest();
    let json = json!({
        "key": stored.key(),
        "path": stored.path(),
        "spec": manifest.spec(),
        "disk": manifest.disk(),
        "provenance": manifest.provenance(),
    });
    console.answer(&stored.path().display().to_string(), &json)?;
    Ok(())
}
