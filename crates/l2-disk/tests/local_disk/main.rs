//! The layer on real qcow2 files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod budget;
mod entries;
mod explaining;
mod host;
mod verifying;
