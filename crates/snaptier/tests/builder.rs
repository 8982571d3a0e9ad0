//! A cache as a program of its own wires it: with tiers, a builder and directories that it names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base_image::ImageError;
use cache_key::{Language, PackageSet};
use cache_layer::{Phase, WhatHappened, progress_channel};
use cache_layer_testkit::Workshop;
use cache_layer_testkit::doubles::{Memory, Quick};
use hierarchy::{Source, Tier};
use l2_disk::Budget;
use snaptier::{Error, OpenError, Settings, SnapshotCache, SnapshotCacheBuilder};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn tiers_of_ones_own_stand_before_and_after_the_built_in_ones_in_the_order_of_their_naming() {
    let place = Place::new();
    let local = |name| Tier::local(Arc::new(Memory::named(name)));

    let cache = place
        .builder()
        .tier_after(local("third"))
        .tier_before(local("first"))
        .remote(place.store())
        .tier_before(local("second"))
        .tier_after(local("fourth"))
        .build()
        .unwrap();

    let layers = cache.stats().layers;
    let names: Vec<_> = layers.iter().map(|layer| layer.name).collect();
    let order = ["first", "second", "l2-disk", "l3-remote", "third", "fourth"];
    assert_eq!(names, order);
    assert!(cache.to_string().ends_with(" → quick"), "{cache}");
}

#[tokio::test]
async fn what_is_built_goes_into_the_tiers_before_and_after_and_is_found_in_either() {
    let place = Place::new();
    let (near, far) = (Memory::named("near"), Memory::named("far"));
    let spec = place.workshop.spec("a==1");
    let cache = place
        .builder()
        .tier_before(Tier::local(Arc::new(near.clone())))
        .tier_after(Tier::remote(Arc::new(far.clone())))
        .build()
        .unwrap();

    let built = cache.get_spec(&spec).await.unwrap();
    let found = cache.get_spec(&spec).await.unwrap();

    assert_eq!(built.source, Source::Built);
    assert_eq!(found.source, Source::Layer("near"));
    assert_eq!(cache.shutdown(LONG).await, []);
    assert!(far.has(&spec.key()));
    let other = SnapshotCache::builder()
        .cache_dir(place.path("elsewhere"))
        .image_dir(place.path("images"))
        .tier_after(Tier::remote(Arc::new(far)))
        .built_by(Arc::new(Quick::new()));
    let found = other.build().unwrap().get_spec(&spec).await.unwrap();
    assert_eq!(found.source, Source::Layer("far"));
}

#[tokio::test]
async fn a_cache_with_a_builder_of_its_own_makes_no_base_image_and_says_how_to_ask() {
    let place = Place::new();
    let builder = Arc::new(Quick::new());
    let cache = place.builder().built_by(builder.clone()).build().unwrap();
    let packages = PackageSet::parse(Language::Python, ["a==1"]).unwrap();

    let refused = cache.get(&packages).await.unwrap_err();

    assert!(matches!(refused, Error::NoBaseImage { .. }), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        "get python packages: no base image is named, and a cache with a builder of its own makes none; name one with `SnapshotCache::get_spec`"
    );
    assert_eq!(builder.builds(), 0);
    assert!(!place.path("images").exists());
    let spec = place.workshop.spec("a==1");
    cache.get_spec(&spec).await.unwrap();
    assert_eq!(builder.builds(), 1);
}

#[tokio::test]
async fn a_machine_builds_over_no_base_image_but_those_of_the_image_directory() {
    let place = Place::new();
    let cache = SnapshotCache::builder()
        .cache_dir(place.path("cache"))
        .image_dir(place.path("images"))
        .build()
        .unwrap();

    let spec = place.workshop.spec("a==1");
    let refused = cache.get_spec(&spec).await.unwrap_err();

    let digest = spec.base_image().digest().short();
    let images = place.path("images");
    let expected = format!(
        "find the python base image {digest} in `{}`",
        images.display()
    );
    assert_eq!(refused.to_string(), expected);
}

#[tokio::test]
async fn the_image_that_is_named_is_the_one_that_is_looked_for() {
    let place = Place::new();
    fs::create_dir(place.path("images")).unwrap();
    let cache = SnapshotCache::builder()
        .cache_dir(place.path("cache"))
        .image_dir(place.path("images"))
        .image("0123abcd".parse().unwrap())
        .build()
        .unwrap();

    let packages = PackageSet::parse(Language::Python, ["a==1"]).unwrap();
    let refused = cache.get(&packages).await.unwrap_err();

    let is_it = matches!(refused, Error::Image(ImageError::NoSuchImage { .. }));
    assert!(is_it, "{refused:?}");
    assert!(refused.to_string().contains("0123abcd"), "{refused}");
}

#[tokio::test]
async fn what_is_said_one_by_one_goes_before_the_settings_whatever_the_order() {
    let place = Place::new();
    let mut settings = Settings::in_dirs(place.path("a"), place.path("images")).unwrap();
    // Nothing is kept.
    settings.budget.max_bytes = Some(0);
    settings.remote = Some("memory://".parse().unwrap());
    let one_by_one = |builder: SnapshotCacheBuilder| {
        builder
            .cache_dir(place.path("b"))
            .budget(Budget::default())
            .remote(place.store())
    };
    let builder = SnapshotCache::builder().built_by(Arc::new(Quick::new()));
    let spec = place.workshop.spec("a==1");
    for builder in [
        one_by_one(builder.clone().settings(settings.clone())),
        one_by_one(builder.clone()).settings(settings.clone()),
    ] {
        let cache = builder.build().unwrap();
        let answer = cache.get_spec(&spec).await.unwrap();
        assert!(answer.snapshot.path().starts_with(place.path("b")));
        assert_eq!(cache.shutdown(LONG).await, []);
        let object = format!("store/snapshots/{}.qcow2.zst", spec.key());
        assert!(place.path(&object).is_file());
        assert!(!place.path("a").exists());
        drop(answer);
        cache.get_spec(&place.workshop.spec("b==1")).await.unwrap();
        let first = cache.get_spec(&spec).await.unwrap();
        assert_eq!(first.source, Source::Layer("l2-disk"), "there is room");
        assert_eq!(cache.shutdown(LONG).await, []);
        fs::remove_file(place.path(&object)).unwrap();
        drop(first);
        fs::remove_dir_all(place.path("b")).unwrap();
    }

    let as_set = builder.settings(settings).build().unwrap();
    as_set.get_spec(&spec).await.unwrap();
    let kept = as_set.get_spec(&place.workshop.spec("b==1")).await.unwrap();
    assert!(kept.snapshot.path().starts_with(place.path("a")));
    assert!(
        !place.path(format!("a/{}.qcow2", spec.key())).exists(),
        "the budget of the settings holds"
    );
}

#[tokio::test]
async fn progress_tells_of_the_download_from_the_remote_store() {
    let place = Place::new();
    let spec = place.workshop.spec("a==1");
    let one = place.builder().remote(place.store()).build().unwrap();
    one.get_spec(&spec).await.unwrap();
    assert_eq!(one.shutdown(LONG).await, []);
    let (sender, mut progress) = progress_channel(1024);
    let other = SnapshotCache::builder()
        .cache_dir(place.path("elsewhere"))
        .image_dir(place.path("images"))
        .remote(place.store())
        .progress(Arc::new(sender))
        .build()
        .unwrap();

    let answer = other.get_spec(&spec).await.unwrap();

    assert_eq!(answer.source, Source::Layer("l3-remote"));
    let first = progress.next().await.unwrap();
    assert_eq!(first.event, WhatHappened::Started(Phase::Download));
}

#[test]
fn a_store_that_is_none_and_a_directory_that_is_a_file_are_named_with_the_remedy() {
    let place = Place::new();
    let wrong = place.builder().remote("snapshots/team").build();
    let wrong = wrong.unwrap_err();
    assert!(matches!(wrong, OpenError::Location(_)), "{wrong:?}");
    let said = wrong.to_string();
    assert!(
        said.starts_with("`snapshots/team` is not a remote cache: ")
            && said.contains("write s3://BUCKET/PREFIX?region=…"),
        "{said}"
    );

    let file = place.path("file");
    fs::write(&file, []).unwrap();
    let wrong = place.builder().cache_dir(&file).build().unwrap_err();
    let OpenError::CacheDir { path, source } = &wrong else {
        panic!("{wrong:?}");
    };
    assert_eq!(path, &file);
    assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
    let expected = format!("use the cache directory `{}`", file.display());
    assert_eq!(wrong.to_string(), expected);
}

/// A host in small: its directories, and a base image.
struct Place {
    dir: TempDir,
    workshop: Workshop,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        Self {
            dir,
            workshop: Workshop::new().unwrap(),
        }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The URI of a directory that is there.
    fn store(&self) -> String {
        format!("file://{}", self.path("store").display())
    }

    /// A cache in directories of this host, with a builder that makes small disks at once.
    fn builder(&self) -> SnapshotCacheBuilder {
        SnapshotCache::builder()
            .cache_dir(self.path("cache"))
            .image_dir(self.path("images"))
            .built_by(Arc::new(Quick::new()))
    }
}
