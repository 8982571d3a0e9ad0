//! For whoever writes a cache layer, or tests what is made of layers and builders.
//!
//! - [`conformance`] is the contract as tests: a layer's author calls them in three lines.
//! - [`doubles`] are layers and builders that do what a test wants of them: fail, wait, be slow, write down who was
//!   called.
//! - A [`Workshop`] makes what they trade in: small snapshots, over a base image of their own.

pub mod conformance;
pub mod doubles;
mod overlay;
mod workshop;

pub use workshop::Workshop;
