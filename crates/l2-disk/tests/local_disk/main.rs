//! The layer on real qcow2 files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod budget;
mod entries;
mod host;
mod verifying;
