use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{CacheLayer, KeyLock, LayerError, Lookup, Manifest, Snapshot, Staging, blocking};

use crate::entry::{Examined, Fault, examine};
use crate::layout::Layout;
use crate::publish::{publish, unpublish, write_sidecar};

/// Snapshots in a directory of this host. Any number of processes may use one directory at once.
#[derive(Debug, Clone)]
pub struct DiskLayer {
    layout: Layout,
    staging: Staging,
}

impl DiskLayer {
    /// Opens the layer in the directory `root`, making it as needed, and sweeps what processes that died
    /// left in its staging.
    ///
    /// # Errors
    ///
    /// The directory cannot be made, read or written to.
    pub fn open(root: &Path) -> io::Result<Self> {
        // QEMU takes a relative name as relative to the overlay, not to us.
        let root = std::path::absolute(root)?;
        Ok(Self {
            staging: Staging::open(&root)?,
            layout: Layout::new(root),
        })
    }

    /// The staging directory on this layer's file system, in which snapshots are best made.
    #[must_use]
    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Looks at the entry of `spec` and takes care of one that is not in order. The caller holds its lock.
    async fn settle(&self, spec: &SnapshotSpec) -> Result<Lookup, LayerError> {
        let (layer, spec) = (self.clone(), spec.clone());
        blocking(move || {
            let key = spec.key();
            let looked = |error| LayerError::from_io(format!("look at the entry {key}"), error);
            match examine(&layer.layout, &spec).map_err(looked)? {
                Examined::Absent => Ok(Lookup::Miss),
                Examined::Proved { pin, manifest } => Ok(Lookup::Hit(layer.pinned(pin, manifest))),
                Examined::Verified { pin, sidecar } => {
                    // Without it the next hit verifies again.
                    if let Err(error) = write_sidecar(&layer.layout, &layer.staging, &sidecar) {
                        tracing::warn!(%key, %error, "cannot write the manifest of an entry that was found");
                    }
                    Ok(Lookup::Hit(layer.pinned(pin, sidecar.manifest)))
                }
                Examined::Unusable(fault) => {
                    layer.discard(&key, &fault);
                    Ok(Lookup::Miss)
                }
            }
        })
        .await
    }

    fn discard(&self, key: &CacheKey, fault: &Fault) {
        if fault.is_from_the_future() {
            tracing::warn!(%key, %fault, "an entry cannot be used and is left for the release that wrote it");
            return;
        }
        match unpublish(&self.layout, key) {
            Ok(()) => tracing::warn!(%key, %fault, "removed an entry that cannot be used"),
            Err(error) => {
                tracing::warn!(%key, %fault, %error, "cannot remove an entry that cannot be used");
            }
        }
    }

    fn pinned(&self, pin: File, manifest: Manifest) -> Snapshot {
        Snapshot::new(self.layout.disk(manifest.key()), manifest).held_by(pin)
    }

    async fn lock_entry(&self, key: &CacheKey) -> Result<KeyLock, LayerError> {
        let lock = KeyLock::acquire(self.layout.entry_lock(key)).await;
        lock.map_err(|error| LayerError::from_io(format!("lock the entry {key}"), error))
    }
}

#[async_trait]
impl CacheLayer for DiskLayer {
    fn name(&self) -> &'static str {
        "l2-disk"
    }

    async fn get(&self, spec: &SnapshotSpec, _staging: &Staging) -> Result<Lookup, LayerError> {
        let (layer, wanted) = (self.clone(), spec.clone());
        let examined = blocking(move || {
            examine(&layer.layout, &wanted).map_err(|error| {
                LayerError::from_io(format!("look at the entry {}", wanted.key()), error)
            })
        });
        match examined.await? {
            Examined::Absent => Ok(Lookup::Miss),
            Examined::Proved { pin, manifest } => Ok(Lookup::Hit(self.pinned(pin, manifest))),
            // Somebody may be replacing it just now. With the lock, what is there is what stays.
            Examined::Verified { .. } | Examined::Unusable(_) => {
                let _lock = self.lock_entry(&spec.key()).await?;
                self.settle(spec).await
            }
        }
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let _lock = self.lock_entry(snapshot.key()).await?;
        let (layer, snapshot) = (self.clone(), snapshot.clone());
        blocking(move || {
            let pin = publish(&layer.layout, &layer.staging, &snapshot)?;
            Ok(layer.pinned(pin, Manifest::clone(snapshot.manifest())))
        })
        .await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        let _lock = self.lock_entry(key).await?;
        let (layer, key) = (self.clone(), key.clone());
        blocking(move || {
            unpublish(&layer.layout, &key)
                .map_err(|error| LayerError::from_io(format!("remove the entry {key}"), error))
        })
        .await
    }
}

impl fmt::Display for DiskLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l2-disk({})", self.layout.root().display())
    }
}
