//! Object stores to test against and to develop with: real servers, and a proxy that makes them fail.
//!
//! [`servers`] installs and starts five servers that speak S3 or GCS. [`faults`] stands between a client and
//! one of them and does what networks and stores do on bad days, by a script. Everything blocks and needs no
//! async runtime; from an async test call it before the runtime or in `spawn_blocking`.

pub mod faults;
pub mod servers;
