//! The remote tier on every kind of store, the real servers of them included.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod contract;
mod explaining;
mod faults;
mod golden;
mod host;
mod local;
mod place;
mod trust;
mod unmanifested;
