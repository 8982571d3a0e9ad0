//! Composes cache layers and a builder into one cache that fills itself.
//!
//! A [`Hierarchy`] asks its [`Tier`]s in order. A hit is put into the tiers above it; when every tier misses,
//! the snapshot is built once, however many ask, put into the local tiers, answered, and uploaded to the
//! remote ones in the background. With an [`Outbox`], what is not uploaded when the process ends is uploaded by the
//! next one.
//!
//! It knows tiers and builder only as `dyn CacheLayer` and `dyn SnapshotBuilder`.

mod answer;
mod error;
mod flights;
mod hierarchy;
mod outbox;
mod stats;
mod tier;
mod uploads;

pub use answer::{Answer, Source};
pub use error::GetError;
pub use hierarchy::Hierarchy;
pub use outbox::{LastError, Outbox, OutboxLimits, OutboxStats, PendingUpload};
pub use stats::{LayerStats, Stats};
pub use tier::{Reach, Tier, Writes};
pub use uploads::Unfinished;
