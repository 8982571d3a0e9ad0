//! The hierarchy over mocks of its layers and its builder.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod histories;
mod journal;
mod model;
mod observing;
mod ordering;
mod patience;
mod shelf;
mod waiting;
