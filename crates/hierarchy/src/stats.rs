use serde::Serialize;

use crate::Latency;

/// What a hierarchy has done since it was made.
///
/// Each call to a layer is one of hit, miss, skipped, cancelled and error, so that these add up to what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Per layer, in the order in which they are asked.
    pub layers: Vec<LayerStats>,
    /// What the builder did.
    pub builder: BuilderStats,
}

/// What one layer answered. An error is neither a hit nor a miss, nor is a call that was never made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerStats {
    /// The layer's name.
    pub name: &'static str,
    /// It had what was asked for.
    pub hits: u64,
    /// It had not.
    pub misses: u64,
    /// It was not asked, because it had not answered lately.
    pub skipped: u64,
    /// Nobody waited for its answer any more: all askers had left, or a build beside it was faster.
    pub cancelled: u64,
    /// It could not look.
    pub get_errors: Errors,
    /// The bytes of the snapshots that it had, as files of this host. A remote layer moves fewer.
    pub bytes_served: u64,
    /// How long it took to answer.
    pub get_latency: Latency,
    /// Snapshots that it stored, those that it had already included.
    pub puts: u64,
    /// Snapshots that it was not given, because it had not stored any lately.
    pub puts_skipped: u64,
    /// Snapshots that it was given while nobody waited for it any more.
    pub puts_cancelled: u64,
    /// Snapshots that it could not store.
    pub put_errors: Errors,
    /// The bytes of the snapshots that it stored, as files of this host.
    pub bytes_stored: u64,
    /// How long it took to store.
    pub put_latency: Latency,
}

/// Errors of a layer, by what can be done about them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Errors {
    /// The tier could not be reached.
    pub unavailable: u64,
    /// It had not answered when its deadline was over.
    pub deadline: u64,
    /// It refused access.
    pub denied: u64,
    /// The entry's bytes were wrong.
    pub corrupt: u64,
    /// There was no room.
    pub out_of_space: u64,
    /// It was asked for something that makes no sense.
    pub invalid: u64,
    /// Anything else, a panic included.
    pub other: u64,
}

impl Errors {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unavailable
            + self.deadline
            + self.denied
            + self.corrupt
            + self.out_of_space
            + self.invalid
            + self.other
    }
}

/// What the builder did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BuilderStats {
    /// Snapshots built.
    pub built: u64,
    /// Builds that nobody waited for any more: all askers had left, or the layer beside was faster.
    pub cancelled: u64,
    /// Builds that began beside a layer that was slow to answer.
    pub hedged: u64,
    /// Builds that failed.
    pub errors: BuildErrors,
    /// The bytes of what was built.
    pub bytes_built: u64,
    /// How long builds took, those that failed included.
    pub latency: Latency,
}

/// Builds that failed, by what can be done about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BuildErrors {
    /// The packages cannot be installed.
    pub packages: u64,
    /// It may work later.
    pub temporary: u64,
    /// This host cannot build.
    pub host: u64,
    /// A defect of the builder, a panic included.
    pub internal: u64,
    /// Anything else.
    pub other: u64,
}

impl BuildErrors {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.packages + self.temporary + self.host + self.internal + self.other
    }
}
