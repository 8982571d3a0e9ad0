//! Making room: what the plan says, done to entries that nobody uses.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::budget::{Budget, Incoming, plan};
use crate::catalog::{self, Entry};
use crate::layout::Layout;
use crate::removal::{Removal, evict, is_unused};

/// What was evicted, or would be, and what that leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Eviction {
    /// The entries that went, the least recently used first.
    pub evicted: Vec<Entry>,
    /// What the entries that stay take on the disk, in bytes.
    pub kept_bytes: u64,
    /// How many entries stay.
    pub kept: usize,
    /// What is missing to the budget all the same, in bytes, because the rest is in use: 0 when the budget is met.
    pub shortfall: u64,
}

impl Eviction {
    /// What went, in bytes on the disk.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.evicted.iter().map(|entry| entry.disk_bytes).sum()
    }
}

/// What to do where not enough can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Or {
    /// Evict nothing, as far as that can be known beforehand: it would be for nothing.
    Nothing,
    /// Evict what can go.
    AllThatCan,
}

/// Evicts entries until `budget` is kept with `incoming` on top. The caller holds the lock on room.
pub(crate) fn make_room(
    layout: &Layout,
    entries: Vec<Entry>,
    budget: Budget,
    incoming: Incoming,
    or: Or,
) -> io::Result<Eviction> {
    carry_out(layout, entries, budget, incoming, or, &|entry| {
        let removal = evict(layout, &entry.key)?;
        if removal == Removal::Gone {
            tracing::info!(key = %entry.key, bytes = entry.disk_bytes, "evicted an entry");
        }
        Ok(removal)
    })
}

/// What [`make_room`] would do now.
pub(crate) fn rehearse(
    layout: &Layout,
    entries: Vec<Entry>,
    budget: Budget,
) -> io::Result<Eviction> {
    let (incoming, or) = (Incoming::default(), Or::AllThatCan);
    carry_out(layout, entries, budget, incoming, or, &|entry| {
        Ok(match is_unused(layout, &entry.key)? {
            true => Removal::Gone,
            false => Removal::InUse,
        })
    })
}

/// Plans, and plans anew without what turned out to be in use.
fn carry_out(
    layout: &Layout,
    mut entries: Vec<Entry>,
    budget: Budget,
    incoming: Incoming,
    or: Or,
    remove: &dyn Fn(&Entry) -> io::Result<Removal>,
) -> io::Result<Eviction> {
    // Counted on from here: what others write meanwhile is their own business.
    let free = free_bytes(layout.root())?;
    let mut freed = 0;
    let mut evicted = Vec::new();
    let mut pinned = HashSet::new();
    loop {
        let is_pinned = |at: usize| pinned.contains(&entries[at].key);
        let now = SystemTime::now();
        let plan = plan(&entries, is_pinned, budget, free + freed, incoming, now);
        let is_hopeless = plan.shortfall > 0 && or == Or::Nothing;
        let victims = if is_hopeless { &[][..] } else { &plan.victims };
        let mut gone = Vec::new();
        let mut is_met = true;
        for &at in victims {
            if remove(&entries[at])? == Removal::InUse {
                pinned.insert(entries[at].key.clone());
                is_met = false;
                // What goes in its place is for the next plan to say.
                break;
            }
            freed += entries[at].disk_bytes;
            gone.push(at);
        }
        evicted.extend(gone.iter().map(|&at| entries[at].clone()));
        let gone = HashSet::<usize>::from_iter(gone);
        let kept = entries.into_iter().enumerate();
        entries = kept
            .filter(|(at, _)| !gone.contains(at))
            .map(|(_, entry)| entry)
            .collect();
        if is_met {
            return Ok(Eviction {
                evicted,
                kept_bytes: entries.iter().map(|entry| entry.disk_bytes).sum(),
                kept: entries.len(),
                shortfall: plan.shortfall,
            });
        }
    }
}

/// What an unprivileged process may still write on the file system of `dir`, in bytes.
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(dir)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Every entry but the one of `key`, which is to be replaced.
pub(crate) fn others(layout: &Layout, key: &cache_key::CacheKey) -> io::Result<Vec<Entry>> {
    let mut entries = catalog::entries(layout)?;
    entries.retain(|entry| entry.key != *key);
    Ok(entries)
}
