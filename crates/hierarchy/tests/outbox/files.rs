//! Layers and a builder of plain files, which other processes see too.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cache_key::{BaseImage, CacheKey, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{
    BuildError, CacheLayer, Disk, LayerError, Lookup, Manifest, Provenance, Snapshot,
    SnapshotBuilder, Staging,
};
use jiff::Timestamp;

/// A layer that keeps a file for each snapshot, with its manifest beside it, and writes down what it was given.
#[derive(Debug)]
pub(crate) struct Files {
    name: &'static str,
    dir: PathBuf,
    /// A pipe that is read to its end before anything is stored: a store that takes as long as somebody likes.
    gate: Option<PathBuf>,
}

/// What is written instead of a disk.
const BYTES: &[u8] = b"a disk";

impl Files {
    pub(crate) fn new(name: &'static str, dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        Self {
            name,
            dir: dir.to_owned(),
            gate: None,
        }
    }

    pub(crate) fn with_gate(self, gate: &Path) -> Self {
        Self {
            gate: Some(gate.to_owned()),
            ..self
        }
    }

    pub(crate) fn disk(&self, key: &CacheKey) -> PathBuf {
        self.dir.join(format!("{key}.qcow2"))
    }

    fn manifest(&self, key: &CacheKey) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }

    /// How often the snapshot of `key` was brought here to the end.
    pub(crate) fn stored(&self, key: &CacheKey) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| *line == key.to_string()).count()
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn store(&self, snapshot: &Snapshot) -> std::io::Result<()> {
        let key = snapshot.key();
        if self.disk(key).exists() {
            return Ok(());
        }
        if let Some(gate) = &self.gate {
            fs::File::open(gate)?.read_to_end(&mut Vec::new())?;
        }
        let half = self.dir.join(format!("{}-{key}", std::process::id()));
        fs::write(&half, fs::read(snapshot.path())?)?;
        fs::write(self.manifest(key), snapshot.manifest().to_json())?;
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        fs::rename(half, self.disk(key))?;
        log.write_all(format!("{key}\n").as_bytes())
    }
}

#[async_trait]
impl CacheLayer for Files {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn get(&self, spec: &SnapshotSpec, _staging: &Staging) -> Result<Lookup, LayerError> {
        let key = spec.key();
        if !self.disk(&key).exists() {
            return Ok(Lookup::Miss);
        }
        let manifest = Manifest::from_json(&fs::read(self.manifest(&key)).unwrap()).unwrap();
        assert_eq!(*manifest.spec(), spec.canonical());
        if !spec.base_image().path().exists() {
            // As a layer does whose entries are over files that may go.
            fs::remove_file(self.disk(&key)).unwrap();
            return Ok(Lookup::Miss);
        }
        Ok(Lookup::Hit(Snapshot::new(self.disk(&key), manifest)))
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let stored = match &self.gate {
            None => self.store(snapshot),
            // It waits, and others are not to wait for it.
            Some(_) => tokio::task::block_in_place(|| self.store(snapshot)),
        };
        stored.map_err(|error| LayerError::from_io("store it", error))?;
        let manifest = snapshot.manifest().clone();
        Ok(Snapshot::new(self.disk(snapshot.key()), manifest))
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        fs::remove_file(self.disk(key)).map_err(|error| LayerError::from_io("remove it", error))
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, self.dir.display())
    }
}

/// Builds in no time.
#[derive(Debug)]
pub(crate) struct Instant;

#[async_trait]
impl SnapshotBuilder for Instant {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        let staged = staging.file(&spec.key());
        fs::write(staged.path(), BYTES).unwrap();
        let path = staged.path().to_owned();
        Ok(Snapshot::new(path, manifest(spec)).held_by(staged))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("instant")
    }
}

/// The package over the base image `base`, a file.
pub(crate) fn spec(base: &Path, package: &str) -> SnapshotSpec {
    let digest = ImageDigest::from_bytes([7; 32]);
    let base = BaseImage::new(base, DiskFormat::Qcow2, digest);
    let packages = PackageSet::parse(Language::Python, [package]).unwrap();
    SnapshotSpec::new(base, packages)
}

pub(crate) fn manifest(spec: &SnapshotSpec) -> Manifest {
    let disk = Disk::of_reader(BYTES, 512).unwrap();
    let provenance = Provenance::new(Timestamp::UNIX_EPOCH, "test");
    Manifest::new(spec.canonical(), disk, provenance)
}
