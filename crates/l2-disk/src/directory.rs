//! What is done in the layer's directory, step by step. All of it may wait for the disk.

use std::io;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{LayerError, LayerErrorKind, Lookup, Snapshot, Staging};
use qcow2_header::Qcow2Error;

use crate::budget::{Budget, Incoming};
use crate::entry::{Examined, Failure, Fault, Found, Unproved, examine};
use crate::layout::Layout;
use crate::pin::{Pinned, pin, try_pin};
use crate::publish::{already_there, incoming, publish, write_sidecar};
use crate::removal::{remove, remove_orphan};
use crate::room::{Or, make_room, others};
use crate::sidecar::SidecarFile;

/// The layer's directory, and how it is used.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) layout: Layout,
    /// `None` where the directory is only to be read.
    pub(crate) staging: Option<Staging>,
    pub(crate) budget: Budget,
    pub(crate) qemu_img: PathBuf,
}

/// What a full disk is to have left beside the entry that found it full: for sidecars, locks and directories.
const SLACK: u64 = 64 << 10;

impl Directory {
    /// The entry of `spec`, if that can be told without changing anything, and without waiting for anybody.
    pub(crate) fn look(&self, spec: &SnapshotSpec) -> Result<Option<Lookup>, LayerError> {
        match self.examine(spec, try_pin)? {
            Examined::Absent => Ok(Some(Lookup::Miss)),
            Examined::Proved(found, sidecar) => Ok(Some(self.hit(found, &sidecar))),
            Examined::Busy | Examined::Unproved(_) | Examined::Unusable(_) => Ok(None),
        }
    }

    /// The entry of `spec`, verified if need be, and removed if it is not in order. The caller holds its lock, if
    /// the directory can be written to.
    pub(crate) fn settle(&self, spec: &SnapshotSpec) -> Result<Lookup, LayerError> {
        let fault = match self.examine(spec, pin)? {
            Examined::Absent | Examined::Busy => return Ok(Lookup::Miss),
            Examined::Proved(found, sidecar) => return Ok(self.hit(found, &sidecar)),
            Examined::Unproved(entry) => match self.verify(entry, spec) {
                Ok(found) => return Ok(Lookup::Hit(self.handed_out(found))),
                Err(Failure::Fault(fault)) => fault,
                Err(Failure::Io(error)) => return Err(cannot_look(&spec.key(), error)),
                Err(Failure::Tool(error)) => return Err(cannot_check(&spec.key(), error)),
            },
            Examined::Unusable(fault) => fault,
        };
        self.discard(&spec.key(), &fault);
        Ok(Lookup::Miss)
    }

    pub(crate) fn examine(
        &self,
        spec: &SnapshotSpec,
        pin: fn(&Path) -> io::Result<Pinned>,
    ) -> Result<Examined, LayerError> {
        examine(&self.layout, spec, pin).map_err(|error| cannot_look(&spec.key(), error))
    }

    fn verify(&self, entry: Unproved, spec: &SnapshotSpec) -> Result<Found, Failure> {
        let (found, sidecar) = entry.verify(spec, &self.qemu_img)?;
        if let Some(staging) = &self.staging {
            // Without it the next hit verifies again.
            if let Err(error) = write_sidecar(&self.layout, staging, &sidecar) {
                let key = spec.key();
                tracing::warn!(%key, %error, "cannot write the manifest of an entry that was found");
            }
        }
        Ok(found)
    }

    /// Removes an entry that cannot be used. The caller holds its lock.
    pub(crate) fn discard(&self, key: &CacheKey, fault: &Fault) {
        if fault.is_from_the_future() {
            tracing::warn!(%key, %fault, "an entry cannot be used and is left for the release that wrote it");
            return;
        }
        match remove(&self.layout, key) {
            Ok(()) => tracing::warn!(%key, %fault, "removed an entry that cannot be used"),
            Err(error) => {
                tracing::warn!(%key, %fault, %error, "cannot remove an entry that cannot be used");
            }
        }
    }

    /// The entry of `snapshot`'s request that is there and stays.
    pub(crate) fn already_there(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        already_there(&self.layout, snapshot).map(|found| self.handed_out(found))
    }

    /// Puts `snapshot` in place. The caller holds the entry's lock.
    pub(crate) fn publish(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let staging = self.require_writable()?;
        match publish(&self.layout, staging, snapshot, &self.qemu_img) {
            Ok(found) => Ok(self.handed_out(found)),
            Err(error) => {
                // What it failed at may have come after the sidecar.
                let key = snapshot.key();
                if let Err(error) = remove_orphan(&self.layout, key) {
                    tracing::warn!(%key, %error, "a manifest without a disk stays behind");
                }
                Err(error)
            }
        }
    }

    /// Evicts what has to go for `snapshot` to be within the budget. The caller holds the lock on room.
    pub(crate) fn fit(&self, snapshot: &Snapshot) -> Result<(), LayerError> {
        let key = snapshot.key();
        let io = |error| LayerError::from_io(format!("make room for {key}"), error);
        let incoming = incoming(&self.layout, snapshot).map_err(io)?;
        let others = others(&self.layout, key).map_err(io)?;
        let done = make_room(&self.layout, others, self.budget, incoming, Or::Nothing);
        match done.map_err(io)?.shortfall {
            0 => Ok(()),
            missing => Err(self.over_budget(key, incoming, missing)),
        }
    }

    fn over_budget(&self, key: &CacheKey, incoming: Incoming, missing: u64) -> LayerError {
        let (takes, missing) = (ByteSize(incoming.bytes), ByteSize(missing));
        let root = self.layout.root().display();
        let Budget {
            max_bytes,
            min_free_bytes,
        } = self.budget;
        let context = match max_bytes {
            Some(max) if incoming.bytes > max => format!(
                "store {key}: it takes {takes}, more than the {} that all of `{root}` may take: allow more with a larger maximum",
                ByteSize(max)
            ),
            Some(max) => format!(
                "store {key}: it takes {takes}, and `{root}`, which may take {} and leaves {} free, has {missing} too little that is not in use",
                ByteSize(max),
                ByteSize(min_free_bytes)
            ),
            None => format!(
                "store {key}: it takes {takes}, and to leave {} free on the disk of `{root}`, {missing} are missing that are not in use there",
                ByteSize(min_free_bytes)
            ),
        };
        LayerError::new(LayerErrorKind::OutOfSpace, context)
    }

    /// Evicts what has to go for `snapshot` on a disk that turned out to be `full`. The caller holds the lock on
    /// room.
    pub(crate) fn clear(&self, snapshot: &Snapshot, full: LayerError) -> Result<(), LayerError> {
        let key = snapshot.key();
        let io = |error| LayerError::from_io(format!("make room for {key}"), error);
        let incoming = incoming(&self.layout, snapshot).map_err(io)?;
        let others = others(&self.layout, key).map_err(io)?;
        let budget = Budget {
            max_bytes: None,
            min_free_bytes: SLACK,
        };
        let done = make_room(&self.layout, others, budget, incoming, Or::Nothing).map_err(io)?;
        if done.shortfall > 0 {
            let context = format!(
                "store {key}: the disk of `{}` is full, and without the entries that are not in use, {} would still be missing",
                self.layout.root().display(),
                ByteSize(done.shortfall)
            );
            return Err(LayerError::new(LayerErrorKind::OutOfSpace, context).with_source(full));
        }
        tracing::warn!(%key, evicted = done.evicted.len(), "the disk is full: evicted entries to make room");
        Ok(())
    }

    pub(crate) fn require_writable(&self) -> Result<&Staging, LayerError> {
        self.staging.as_ref().ok_or_else(|| {
            let root = self.layout.root().display();
            let context = format!("write to the cache directory `{root}`, which can only be read");
            LayerError::new(LayerErrorKind::Denied, context)
        })
    }

    fn hit(&self, found: Found, sidecar: &SidecarFile) -> Lookup {
        sidecar.mark_used();
        Lookup::Hit(self.handed_out(found))
    }

    fn handed_out(&self, found: Found) -> Snapshot {
        let Found { pin, manifest } = found;
        Snapshot::new(self.layout.disk(manifest.key()), manifest).held_by(pin)
    }
}

/// A program that verifies is not there, or did not come to an end.
pub(crate) fn cannot_check(key: &CacheKey, error: Qcow2Error) -> LayerError {
    let kind = LayerErrorKind::Unavailable { temporary: false };
    LayerError::new(kind, format!("check the entry {key}")).with_source(error)
}

pub(crate) fn cannot_look(key: &CacheKey, error: io::Error) -> LayerError {
    LayerError::from_io(format!("look at the entry {key}"), error)
}
