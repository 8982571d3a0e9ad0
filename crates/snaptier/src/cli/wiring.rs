//! From the command line's words to settings, and to what is asked for.

use cache_key::{CacheKey, Language, PackageSet, ParseCacheKeyError, SnapshotSpec};
use cache_layer::Staging;
use l2_disk::{Budget, DiskLayer};
use l3_remote::RemoteLayer;
use snaptier::{OpenError, Settings, SnapshotCache};

use super::args::{Global, Request};
use super::console::Console;
use super::exit::Exit;
use super::failure::Failure;
use super::leaving::{Uploader, remember};
use super::stats::Ledger;

/// What the environment says, overridden by what the command line says.
pub(crate) fn settings(global: &Global) -> Result<Settings, Failure> {
    let mut settings = match (&global.cache_dir, &global.image_dir) {
        // Then nothing needs a home directory.
        (Some(cache_dir), Some(image_dir)) => Settings::in_dirs(cache_dir, image_dir)?,
        _ => Settings::of_user()?,
    };
    if let Some(dir) = &global.cache_dir {
        settings.cache_dir.clone_from(dir);
    }
    if let Some(dir) = &global.image_dir {
        settings.image_dir.clone_from(dir);
    }
    settings.image.clone_from(&global.image);
    settings.budget = Budget {
        max_bytes: global.max_size,
        min_free_bytes: global.min_free.unwrap_or(0),
    };
    // An empty option switches off what the environment names.
    settings.remote = match global.remote.as_deref().filter(|uri| !uri.is_empty()) {
        Some(uri) => Some(uri.parse()?),
        None => None,
    };
    settings.max_concurrent_uploads = global.max_concurrent_uploads;
    settings.more_hosts.clone_from(&global.allow_hosts);
    for (language, index) in [
        (Language::Python, &global.python_index),
        (Language::Javascript, &global.npm_registry),
    ] {
        // Likewise.
        if let Some(url) = index.as_deref().filter(|url| !url.is_empty()) {
            settings.indexes.insert(language, url.parse()?);
        }
    }
    if global.ca_bundle.is_some() {
        settings.ca_bundle.clone_from(&global.ca_bundle);
    }
    settings.qemu_user = global.qemu_user.unwrap_or(settings.qemu_user);
    settings.vm_disk_limit = global.vm_disk_limit.unwrap_or(settings.vm_disk_limit);
    settings.debian_mirror.clone_from(&global.debian_mirror);
    Ok(settings)
}

pub(crate) fn packages(request: &Request) -> Result<PackageSet, Failure> {
    let language: Language = request.language.parse()?;
    Ok(PackageSet::parse(language, &request.packages)?)
}

/// What is asked for over the base image that this host has. Where it has none, `why` says what one is needed for.
pub(crate) async fn spec(
    settings: &Settings,
    packages: PackageSet,
    why: &str,
) -> Result<SnapshotSpec, Failure> {
    let language = packages.language();
    let image = settings.image_store()?.find(language).await?;
    let image = image.ok_or_else(|| {
        let hint = format!("make it with `snaptier image build {language}`");
        Failure::of_text(
            Exit::Host,
            format!("{why}, and there is none for {language}"),
        )
        .with_hint(hint)
    })?;
    Ok(SnapshotSpec::new(image.base_image(), packages))
}

/// The local tier alone.
pub(crate) fn local_disk(settings: &Settings) -> Result<DiskLayer, Failure> {
    let path = &settings.cache_dir;
    let disk = DiskLayer::open(path).map_err(|source| OpenError::CacheDir {
        path: path.clone(),
        source,
    })?;
    Ok(disk.with_budget(settings.budget))
}

/// The remote tier alone.
pub(crate) fn remote_store(settings: &Settings, console: &Console) -> Result<RemoteLayer, Failure> {
    let Some(location) = settings.remote.clone() else {
        let message = "the remote cache is disabled: no store is named";
        return Err(Failure::of_text(Exit::Request, message)
            .with_hint("name one with --remote or SNAPTIER_REMOTE"));
    };
    let store = RemoteLayer::new(location)?
        .with_max_concurrent_uploads(settings.max_concurrent_uploads)
        .with_progress(console.progress());
    remember(Uploader::Store(store.clone()));
    Ok(store)
}

/// Where what comes from elsewhere is made before it is kept.
pub(crate) fn staging(disk: &DiskLayer) -> Result<&Staging, Failure> {
    disk.staging().ok_or_else(|| {
        let root = disk.root().display();
        let message = format!("the cache directory `{root}` can only be read");
        Failure::of_text(Exit::Host, message)
            .with_hint("name another one with --cache-dir or SNAPTIER_CACHE_DIR")
    })
}

pub(crate) fn keys(words: &[String]) -> Result<Vec<CacheKey>, Failure> {
    let keys: Result<_, ParseCacheKeyError> = words.iter().map(|word| word.parse()).collect();
    Ok(keys?)
}

pub(crate) fn open(global: &Global, console: &Console) -> Result<SnapshotCache, Failure> {
    let settings = settings(global)?;
    let ledger = Ledger::in_dir(&settings.cache_dir);
    let cache = SnapshotCache::builder()
        .settings(settings)
        .progress(console.progress())
        .build()?;
    remember(Uploader::Cache(cache.clone(), ledger));
    Ok(cache)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn seed_04_the_cache_directory_its_size_the_bucket_and_how_many_uploads_at_once_are_settings() {
        let remote = "s3://bucket/prefix?region=eu-west-1&endpoint=http://127.0.0.1:9000";
        let line = [
            "snaptier",
            "--cache-dir=/cache",
            "--max-size=20GiB",
            "--min-free=500MB",
            "--image-dir=/images",
            "--remote",
            remote,
            "--max-concurrent-uploads=2",
            "image",
            "ls",
        ];
        let settings = settings(&Cli::parse_from(line).global).unwrap();
        assert_eq!(settings.cache_dir, Path::new("/cache"));
        let budget = Budget {
            max_bytes: Some(20 << 30),
            min_free_bytes: 500_000_000,
        };
        assert_eq!(settings.budget, budget);
        assert_eq!(settings.image_dir, Path::new("/images"));
        assert_eq!(settings.remote, Some(remote.parse().unwrap()));
        assert_eq!(settings.max_concurrent_uploads.get(), 2);
    }
}
