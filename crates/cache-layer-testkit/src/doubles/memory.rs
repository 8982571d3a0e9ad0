use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{CacheLayer, LayerError, LayerErrorKind, Lookup, Manifest, Snapshot, Staging};
use tokio::task::yield_now;

use crate::overlay::backing_file;

/// A layer that keeps every byte it is given in memory, and keeps the contract. Clones share everything: a test
/// keeps one to look into it.
///
/// It gives way to other tasks in the midst of a call, as a layer does that waits for a disk or a network. Its files
/// are small and are read and written on the caller's thread, so that a paused clock stays paused.
#[derive(Debug, Clone)]
pub struct Memory {
    name: &'static str,
    entries: Arc<Mutex<HashMap<CacheKey, Entry>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    manifest: Arc<Manifest>,
    bytes: Arc<[u8]>,
}

impl Memory {
    /// An empty one by the name of `memory`.
    #[must_use]
    pub fn new() -> Self {
        Self::named("memory")
    }

    /// An empty one by the name that it has as a layer.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self {
            name,
            entries: Arc::default(),
        }
    }

    /// Whether there is an entry of this name.
    #[must_use]
    pub fn has(&self, key: &CacheKey) -> bool {
        self.entries().contains_key(key)
    }

    /// The names of all entries, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<CacheKey> {
        let mut keys: Vec<_> = self.entries().keys().cloned().collect();
        keys.sort();
        keys
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<CacheKey, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of `spec`, over the base image that this host has of it.
    fn find(&self, spec: &SnapshotSpec) -> Option<Entry> {
        let entry = self.entries().get(&spec.key()).cloned()?;
        let is_it = *entry.manifest.spec() == spec.canonical()
            && backing_file(&entry.bytes).is_some_and(|path| path == spec.base_image().path());
        is_it.then_some(entry)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl CacheLayer for Memory {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        yield_now().await;
        let Some(entry) = self.find(spec) else {
            return Ok(Lookup::Miss);
        };
        let key = spec.key();
        let failed = |error| LayerError::from_io(format!("write {key} to staging"), error);
        let staged = staging.file(&key);
        let (one, other) = entry.bytes.split_at(entry.bytes.len() / 2);
        let mut file = File::create_new(staged.path()).map_err(failed)?;
        file.write_all(one).map_err(failed)?;
        yield_now().await;
        file.write_all(other).map_err(failed)?;
        let snapshot = Snapshot::new(staged.path().to_owned(), entry.manifest).held_by(staged);
        Ok(Lookup::Hit(snapshot))
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        yield_now().await;
        let key = snapshot.key();
        let bytes = fs::read(snapshot.path())
            .map_err(|error| LayerError::from_io(format!("read the snapshot {key}"), error))?;
        let manifest = snapshot.manifest().clone();
        if !crate::overlay::is_of(&bytes, manifest.disk()) {
            let context = format!("take in {key}: its bytes are not those of its manifest");
            return Err(LayerError::new(LayerErrorKind::Corrupt, context));
        }
        yield_now().await;
        let entry = Entry {
            manifest,
            bytes: bytes.into(),
        };
        self.entries().insert(key.clone(), entry);
        Ok(snapshot.clone())
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        yield_now().await;
        self.entries().remove(key);
        Ok(())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(in memory)", self.name)
    }
}
