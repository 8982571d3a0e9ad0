//! A host of a test's own: a local layer, a remote one, and an outbox between them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    CacheLayer, LayerError, LayerErrorKind, Lookup, Snapshot, SnapshotBuilder, Staging,
};
use hierarchy::{Hierarchy, Outbox, Tier};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::files::{self, Files};

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scene = Self { dir };
        fs::write(scene.base(), "a base image").unwrap();
        scene
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn base(&self) -> PathBuf {
        base(self.path())
    }

    pub(crate) fn spec(&self, package: &str) -> SnapshotSpec {
        files::spec(&self.base(), package)
    }

    pub(crate) fn local(&self) -> Files {
        local(self.path())
    }

    pub(crate) fn remote(&self) -> Files {
        remote(self.path())
    }

    pub(crate) fn staging(&self) -> Staging {
        Staging::open(&root(self.path())).unwrap()
    }

    /// The outbox with the time of tokio's clock, which a test can pause.
    pub(crate) fn outbox(&self) -> Outbox {
        let began = Instant::now();
        let outbox = Outbox::open(&self.staging()).unwrap();
        outbox.with_clock(move || start().checked_add(began.elapsed()).unwrap())
    }

    /// A cache over the local layer and `remote`.
    pub(crate) fn cache(&self, remote: impl CacheLayer + 'static, outbox: &Outbox) -> Hierarchy {
        let tiers = [
            Tier::local(Arc::new(self.local())),
            Tier::remote(Arc::new(remote)),
        ];
        let builder: Arc<dyn SnapshotBuilder> = Arc::new(files::Instant);
        Hierarchy::new(tiers, builder, self.staging()).with_outbox(outbox.clone())
    }

    /// The names of what is in the outbox, locks aside.
    pub(crate) fn notes(&self) -> Vec<String> {
        notes(self.path())
    }
}

pub(crate) fn base(dir: &Path) -> PathBuf {
    dir.join("base.qcow2")
}

pub(crate) fn root(dir: &Path) -> PathBuf {
    dir.join("local")
}

pub(crate) fn local(dir: &Path) -> Files {
    Files::new("local", &root(dir))
}

pub(crate) fn remote(dir: &Path) -> Files {
    Files::new("remote", &dir.join("remote"))
}

pub(crate) fn notes(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(root(dir).join(".outbox"))
        .into_iter()
        .flatten();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "locks")
        .collect();
    names.sort();
    names
}

/// The time at which every test begins.
pub(crate) fn start() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

/// Runs a test on tokio's paused clock, which jumps when all that is left to do is to wait.
pub(crate) fn paused(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

/// A remote layer that stores nothing but what it is told to, and knows when it was asked to.
#[derive(Debug, Clone)]
pub(crate) struct Failing {
    /// What it fails with, one after another; then it stores.
    errors: Arc<Mutex<Vec<LayerErrorKind>>>,
    /// The seconds since the test began, and what was put.
    puts: Arc<Mutex<Vec<(f64, CacheKey)>>>,
    began: Instant,
    takes: Duration,
    /// What it prints of itself.
    shown: String,
}

impl Failing {
    pub(crate) fn with(errors: impl IntoIterator<Item = LayerErrorKind>) -> Self {
        let mut errors: Vec<_> = errors.into_iter().collect();
        errors.reverse();
        Self {
            errors: Arc::new(Mutex::new(errors)),
            puts: Arc::default(),
            began: Instant::now(),
            takes: Duration::ZERO,
            shown: "failing".to_owned(),
        }
    }

    /// It takes this long before it stores or fails.
    pub(crate) fn taking(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }

    /// It passes for the layer that prints itself as `shown`.
    pub(crate) fn shown_as(self, shown: &dyn fmt::Display) -> Self {
        let shown = shown.to_string();
        Self { shown, ..self }
    }

    /// How many there are of this one, in caches and their tasks too.
    pub(crate) fn clones(&self) -> usize {
        Arc::strong_count(&self.puts)
    }

    pub(crate) fn times(&self) -> Vec<f64> {
        self.puts.lock().unwrap().iter().map(|put| put.0).collect()
    }

    pub(crate) fn keys(&self) -> Vec<CacheKey> {
        let puts = self.puts.lock().unwrap();
        puts.iter().map(|put| put.1.clone()).collect()
    }
}

#[async_trait]
impl CacheLayer for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    async fn get(&self, _: &SnapshotSpec, _: &Staging) -> Result<Lookup, LayerError> {
        Ok(Lookup::Miss)
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let put = (self.began.elapsed().as_secs_f64(), snapshot.key().clone());
        self.puts.lock().unwrap().push(put);
        tokio::time::sleep(self.takes).await;
        match self.errors.lock().unwrap().pop() {
            Some(kind) => Err(LayerError::new(kind, "reach the store")),
            None => Ok(snapshot.clone()),
        }
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), LayerError> {
        Ok(())
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
