use serde_json::json;

use super::args::{Global, Request};
use super::console::Console;
use super::failure::Failure;
use super::wiring::{packages, settings, spec};

/// Prints the cache key.
pub(crate) async fn key(
    global: &Global,
    request: &Request,
    console: &Console,
) -> Result<(), Failure> {
    let packages = packages(request)?;
    let spec = spec(&settings(global)?, packages, "a key names a base image").await?;
    let key = spec.key().to_string();
    let json = json!({
        "key": key,
        "language": spec.language(),
        "packages": spec.packages().iter().collect::<Vec<_>>(),
        "base_image": spec.base_image().digest(),
    });
    console.answer(&key, &json)?;
    Ok(())
}
