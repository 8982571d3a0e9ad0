//! What people ask of the layer, rather than the hierarchy: what there is, whether it is sound, less of it.

use cache_key::CacheKey;
use cache_layer::{LayerError, Manifest, ManifestError};

use crate::audit::{Audit, Audited};
use crate::budget::{Budget, Incoming};
use crate::catalog::{self, Entry};
use crate::removal::sweep_orphans;
use crate::room::{Eviction, Or, make_room, rehearse};
use crate::sidecar::Sidecar;
use crate::{DiskLayer, audit};

impl DiskLayer {
    /// Every entry, the most recently used first. No entry's content is read.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub async fn entries(&self) -> Result<Vec<Entry>, LayerError> {
        let context = self.context("list");
        let listed = self.on(|directory| catalog::entries(&directory.layout));
        let mut entries = listed
            .await
            .map_err(|error| LayerError::from_io(context, error))?;
        entries.sort_by(|one, other| {
            let used = other.last_used.cmp(&one.last_used);
            used.then_with(|| one.key.cmp(&other.key))
        });
        Ok(entries)
    }

    /// The manifest of the entry of `key`; `None` if there is no entry, or it has none yet. The entry is neither
    /// checked nor pinned by it, and does not count as used.
    ///
    /// # Errors
    ///
    /// The manifest cannot be read, or is none.
    pub async fn manifest(&self, key: &CacheKey) -> Result<Option<Manifest>, ManifestError> {
        let key = key.clone();
        let read = self.on(move |directory| Sidecar::read(&directory.layout.sidecar(&key)));
        Ok(read.await?.map(|(sidecar, _)| sidecar.manifest))
    }

    /// Evicts entries, the least recently used first, until `budget` is kept, and sweeps what a crash can have left
    /// anywhere in the directory. What is in use stays, and may be why the budget is not met.
    ///
    /// # Errors
    ///
    /// The directory cannot be read or written to.
    pub async fn collect(&self, budget: Budget) -> Result<Eviction, LayerError> {
        self.require_writable()?;
        let _room = self.lock_room().await?;
        let context = self.context("collect garbage in");
        let collected = self.on(move |directory| {
            sweep_orphans(&directory.layout)?;
            let entries = catalog::entries(&directory.layout)?;
            let incoming = Incoming::default();
            make_room(&directory.layout, entries, budget, incoming, Or::AllThatCan)
        });
        collected
            .await
            .map_err(|error| LayerError::from_io(context, error))
    }

    /// What [`collect`](Self::collect) would evict now. Nothing is changed.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub async fn plan_collection(&self, budget: Budget) -> Result<Eviction, LayerError> {
        let context = self.context("look for garbage in");
        let rehearsed = self.on(move |directory| {
            let entries = catalog::entries(&directory.layout)?;
            rehearse(&directory.layout, entries, budget)
        });
        rehearsed
            .await
            .map_err(|error| LayerError::from_io(context, error))
    }

    /// Reads the whole entry of `key` and holds it against its manifest, and its base image against the digest that
    /// it is known by. One that cannot be used is removed, with a warning. Takes a second per GB or two; a base
    /// image is read once in the life of `audit`.
    ///
    /// # Errors
    ///
    /// The entry cannot be read, or `qemu-img` cannot be run.
    pub async fn verify(&self, key: &CacheKey, audit: &Audit) -> Result<Audited, LayerError> {
        let _lock = self.lock_entry_to_look(key).await?;
        let (key, audit) = (key.clone(), audit.clone());
        self.on(move |directory| audit::verify(directory, &key, &audit))
            .await
    }

    fn context(&self, what: &str) -> String {
        format!("{what} `{}`", self.root().display())
    }
}
