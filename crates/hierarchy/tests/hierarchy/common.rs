//! Mocks of the contract, and snapshots for them to trade in.

use std::fmt;

use async_trait::async_trait;
use cache_key::{BaseImage, CacheKey, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{
    BuildError, CacheLayer, Disk, LayerError, Lookup, Manifest, Provenance, Snapshot,
    SnapshotBuilder, Staging,
};
use jiff::Timestamp;
use mockall::mock;

mock! {
    #[derive(Debug)]
    pub(crate) Layer {}

    #[async_trait]
    impl CacheLayer for Layer {
        fn name(&self) -> &'static str;
        async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError>;
        async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError>;
        async fn remove(&self, key: &CacheKey) -> Result<(), LayerError>;
    }

    impl fmt::Display for Layer {
        fn fmt<'a>(&self, f: &mut fmt::Formatter<'a>) -> fmt::Result;
    }
}

mock! {
    #[derive(Debug)]
    pub(crate) Builder {}

    #[async_trait]
    impl SnapshotBuilder for Builder {
        async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError>;
    }

    impl fmt::Display for Builder {
        fn fmt<'a>(&self, f: &mut fmt::Formatter<'a>) -> fmt::Result;
    }
}

/// A layer that answers nothing yet but its name.
pub(crate) fn layer(name: &'static str) -> MockLayer {
    let mut layer = MockLayer::new();
    layer.expect_name().return_const(name);
    layer
        .expect_fmt()
        .returning(move |f| write!(f, "{name}(mock)"));
    layer
}

/// A builder that nobody may ask.
pub(crate) fn no_builder() -> MockBuilder {
    let mut builder = MockBuilder::new();
    builder
        .expect_fmt()
        .returning(|f| write!(f, "builder(mock)"));
    builder.expect_build().never();
    builder
}

pub(crate) fn spec<'a>(packages: impl IntoIterator<Item = &'a str>) -> SnapshotSpec {
    let digest = ImageDigest::from_bytes([7; 32]);
    let base = BaseImage::new("/images/disk.qcow2", DiskFormat::Qcow2, digest);
    SnapshotSpec::new(base, PackageSet::parse(Language::Python, packages).unwrap())
}

/// The snapshot of `spec` as `owner` has it.
pub(crate) fn snapshot(spec: &SnapshotSpec, owner: &str) -> Snapshot {
    let disk = Disk::of_reader(&b"abc"[..], 512).unwrap();
    let provenance = Provenance::new(Timestamp::UNIX_EPOCH, "test");
    let manifest = Manifest::new(spec.canonical(), disk, provenance);
    Snapshot::new(format!("/{owner}/{}.qcow2", spec.key()), manifest)
}

/// The same snapshot, now `owner`'s.
pub(crate) fn moved_to(snapshot: &Snapshot, owner: &str) -> Snapshot {
    let path = format!("/{owner}/{}.qcow2", snapshot.key());
    Snapshot::new(path, snapshot.manifest().clone())
}

pub(crate) fn staging() -> (tempfile::TempDir, Staging) {
    let root = tempfile::tempdir().unwrap();
    let staging = Staging::open(root.path()).unwrap();
    (root, staging)
}
