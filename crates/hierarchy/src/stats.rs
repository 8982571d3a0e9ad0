use std::sync::atomic::{AtomicU64, Ordering};

/// What a hierarchy has done since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Per layer, in the order in which they are asked.
    pub layers: Vec<LayerStats>,
    /// Snapshots built.
    pub built: u64,
    /// Builds that failed.
    pub build_errors: u64,
}

/// What one layer answered. An error is neither a hit nor a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerStats {
    /// The layer's name.
    pub name: &'static str,
    /// It had what was asked for.
    pub hits: u64,
    /// It had not.
    pub misses: u64,
    /// It could not look.
    pub get_errors: u64,
    /// Snapshots that it stored.
    pub puts: u64,
    /// Snapshots that it could not store.
    pub put_errors: u64,
}

#[derive(Debug, Default)]
pub(crate) struct LayerCounters {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) get_errors: Counter,
    pub(crate) puts: Counter,
    pub(crate) put_errors: Counter,
}

impl LayerCounters {
    pub(crate) fn read(&self, name: &'static str) -> LayerStats {
        LayerStats {
            name,
            hits: self.hits.read(),
            misses: self.misses.read(),
            get_errors: self.get_errors.read(),
            puts: self.puts.read(),
            put_errors: self.put_errors.read(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct BuildCounters {
    pub(crate) built: Counter,
    pub(crate) errors: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
