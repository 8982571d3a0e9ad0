//! The product as a user meets it: the command line, real virtual machines, the package registries.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod confinement;
mod doctor;
mod explain;
mod host;
mod host_proxy;
mod import;
mod interruption;
mod isolation;
mod javascript;
mod life_cycle;
mod local_disk;
mod main_job;
mod mirror;
mod missing;
mod outbox;
mod remote_store;
mod retries;
mod run_output;
mod stats;
