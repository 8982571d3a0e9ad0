//! Composes cache layers and a builder into one cache that fills itself.
//!
//! A [`Hierarchy`] asks its [`Tier`]s in order. A hit is put into the tiers above it; when every tier misses,
//! the snapshot is built once, however many ask, put into the local tiers, answered, and uploaded to the
//! remote ones in the background. With an [`Outbox`], what is not uploaded when the process ends is uploaded by the
//! next one.
//!
//! A bad tier does not slow a good one: a [`Tier`] says how long it may take, when it is left alone, and when the build
//! begins beside it. What everybody did is in [`Stats`], in `tracing`'s spans, and with the feature `metrics` it is told
//! to the program's recorder.
//!
//! It knows tiers and builder only as `dyn CacheLayer` and `dyn SnapshotBuilder`.

mod answer;
mod breaker;
mod builds;
mod concurrency;
mod counters;
mod emitted;
mod error;
mod flights;
mod gate;
mod hierarchy;
mod latency;
mod level;
mod outbox;
mod search;
mod stats;
mod store;
mod tier;
mod uploads;

pub use answer::{Answer, Source};
pub use breaker::BreakerSettings;
#[cfg(feature = "metrics")]
pub use emitted::describe_metrics;
pub use error::GetError;
pub use hierarchy::Hierarchy;
pub use latency::{Bucket, Latency};
pub use outbox::{LastError, Outbox, OutboxLimits, OutboxStats, PendingUpload};
pub use stats::{BuildErrors, BuilderStats, Errors, LayerStats, Stats};
pub use tier::{Deadlines, Reach, Tier, Writes};
pub use uploads::Unfinished;
