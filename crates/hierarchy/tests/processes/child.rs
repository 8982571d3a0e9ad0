//! What one of the processes does: many tasks ask a cache for one snapshot.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    BuildError, CacheLayer, LayerError, Lookup, Snapshot, SnapshotBuilder, Staging, blocking,
};
use hierarchy::{Hierarchy, Tier};
use tokio::sync::Semaphore;

use crate::common::{snapshot, spec};
use crate::{TASKS, gate};

/// Prints that all have asked, then the path that each is answered.
#[tokio::main(worker_threads = 2)]
pub(crate) async fn run(root: &Path) {
    let staging = Staging::open(root).unwrap();
    let missed = Arc::new(Semaphore::new(0));
    let folder = Folder {
        root: root.to_owned(),
        missed: missed.clone(),
    };
    let builder = Counted(root.to_owned());
    let cache = Hierarchy::new([Tier::local(Arc::new(folder))], Arc::new(builder), staging);
    let asked: Vec<_> = (0..TASKS)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&spec(["a==1"])).await })
        })
        .collect();
    let all = missed.acquire_many(u32::try_from(TASKS).unwrap());
    all.await.unwrap().forget();
    println!("asked");
    for asked in asked {
        let answer = asked.await.unwrap().unwrap();
        let path = answer.snapshot.path();
        assert_eq!(fs::read(path).unwrap(), CONTENT);
        println!("{}", path.display());
    }
}

/// Where a line is written for each build.
pub(crate) fn builds(root: &Path) -> PathBuf {
    root.join("builds")
}

const CONTENT: &[u8] = b"built";

/// A layer of plain files.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    /// A permit for each miss.
    missed: Arc<Semaphore>,
}

impl Folder {
    fn entry(&self, key: &CacheKey) -> PathBuf {
        self.root.join(format!("{key}.qcow2"))
    }
}

#[async_trait]
impl CacheLayer for Folder {
    fn name(&self) -> &'static str {
        "folder"
    }

    async fn get(&self, spec: &SnapshotSpec, _: &Staging) -> Result<Lookup, LayerError> {
        let entry = self.entry(&spec.key());
        if entry.exists() {
            let manifest = snapshot(spec, "folder").manifest().clone();
            return Ok(Lookup::Hit(Snapshot::new(entry, manifest)));
        }
        self.missed.add_permits(1);
        Ok(Lookup::Miss)
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let entry = self.entry(snapshot.key());
        match fs::hard_link(snapshot.path(), &entry) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(LayerError::from_io("link the file", error))
            }
            _ => Ok(Snapshot::new(entry, snapshot.manifest().clone())),
        }
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        fs::remove_file(self.entry(key))
            .map_err(|error| LayerError::from_io("remove the file", error))
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("folder")
    }
}

/// A builder that writes down that it builds, and builds when it is let go.
#[derive(Debug)]
struct Counted(PathBuf);

#[async_trait]
impl SnapshotBuilder for Counted {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(builds(&self.0))
            .unwrap();
        log.write_all(b"a build\n").unwrap();
        let root = self.0.clone();
        blocking(move || gate::wait(&root)).await;
        let file = staging.file(&spec.key());
        fs::write(file.path(), CONTENT).unwrap();
        let manifest = snapshot(spec, "staging").manifest().clone();
        Ok(Snapshot::new(file.path().to_owned(), manifest).held_by(file))
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}
