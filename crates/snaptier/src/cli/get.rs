use std::time::{Duration, Instant};

use hierarchy::Answer;
use serde_json::json;
use snaptier::SnapshotCache;

use super::args::{Global, Request};
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::leaving::tell;
use super::progress::Took;
use super::wiring::{open, packages};

/// Longer than any upload: one that makes no progress times out by itself.
const UPLOADING: Duration = Duration::from_hours(24);

/// Prints the path of a snapshot.
pub(crate) async fn get(
    global: &Global,
    request: &Request,
    console: &Console,
) -> Result<(), Failure> {
    let packages = packages(request)?;
    let cache = open(global, console)?;
    let began = Instant::now();
    let answer = cache.get(&packages).await?;
    if !answer.kept {
        let message = format!("keep {} on the local disk", answer.snapshot.key());
        return Err(Failure::of_text(Exit::Host, message)
            .with_hint("the warning above says what the cache directory lacks"));
    }
    // Whoever reads the answer need not wait for the upload.
    print(&answer, began.elapsed(), console)?;
    upload(&cache).await;
    Ok(())
}

/// Lets the uploads come to their end.
pub(crate) async fn upload(cache: &SnapshotCache) {
    tell(&cache.shutdown(UPLOADING).await);
}

fn print(answer: &Answer, took: Duration, console: &Console) -> Result<(), Failure> {
    let Answer {
        snapshot, source, ..
    } = answer;
    let manifest = snapshot.manifest();
    console.say(&format!("{}: {source} in {}", snapshot.key(), Took(took)));
    let json = json!({
        "key": snapshot.key(),
        "path": snapshot.path(),
        "source": source.as_str(),
        "elapsed_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "spec": manifest.spec(),
        "disk": manifest.disk(),
        "provenance": manifest.provenance(),
    });
    console.answer(&snapshot.path().display().to_string(), &json)?;
    Ok(())
}
