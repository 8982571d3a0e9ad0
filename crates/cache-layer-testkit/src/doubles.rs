//! Layers and builders that do what a test wants of them.
//!
//! | double | what it does |
//! | --- | --- |
//! | [`Memory`] | a layer that keeps bytes in memory, and keeps the contract |
//! | [`Quick`] | a builder of small disks, in no time |
//! | [`Noop`] | a layer that has and keeps nothing; a builder that refuses |
//! | [`Flaky`] | fails by a script, or by a seed |
//! | [`Gated`] | waits at a [`Gate`] until the test opens it |
//! | [`Recording`] | writes down every call, and how it ended, in a [`Journal`] that many share |
//! | [`Slow`] | takes its time, by tokio's clock, which a test can pause |
//!
//! The last four go around any layer or builder, each other included:
//!
//! ```
//! use std::time::Duration;
//!
//! use cache_layer::LayerErrorKind;
//! use cache_layer_testkit::doubles::{Fault, Faults, Flaky, Journal, Memory, Recording, Slow};
//!
//! let journal = Journal::new();
//! let remote = Memory::named("remote");
//! let down = Faults::always(Fault::Refused(LayerErrorKind::Unavailable { temporary: true }));
//! let layer = Flaky::new(Slow::by(Duration::from_secs(1), remote.clone()), down.clone());
//! let layer = Recording::new(layer, journal.clone());
//! // … hand `layer` to what is tested, and then:
//! down.heal();
//! assert!(journal.entries().is_empty() && remote.keys().is_empty());
//! ```

mod flaky;
mod gated;
mod journal;
mod memory;
mod noop;
mod operation;
mod quick;
mod recording;
mod slow;

pub use flaky::{Fault, Faults, Flaky};
pub use gated::{Gate, Gated};
pub use journal::{Entry, Event, Journal};
pub use memory::Memory;
pub use noop::Noop;
pub use operation::Operation;
pub use quick::Quick;
pub use recording::Recording;
pub use slow::Slow;
