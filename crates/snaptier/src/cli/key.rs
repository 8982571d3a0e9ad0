use base_image::ImageStore;
use cache_key::SnapshotSpec;
use serde_json::json;

use super::args::{Global, Request};
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::wiring::{packages, settings};

/// Prints the cache key.
pub(crate) async fn key(
    global: &Global,
    request: &Request,
    console: &Console,
) -> Result<(), Failure> {
    let packages = packages(request)?;
    let language = packages.language();
    let store = ImageStore::new(settings(global)?.image_dir)?;
    let image = store.find(language).await?.ok_or_else(|| {
        let message = format!("a key names a base image, and there is none for {language}");
        let hint = format!("make it with `snaptier image build {language}`");
        Failure::of_text(Exit::Host, message).with_hint(hint)
    })?;
    let spec = SnapshotSpec::new(image.base_image(), packages);
    let key = spec.key().to_string();
    let json = json!({
        "key": key,
        "language": language,
        "packages": spec.packages().iter().collect::<Vec<_>>(),
        "base_image": spec.base_image().digest(),
    });
    console.answer(&key, &json)?;
    Ok(())
}
