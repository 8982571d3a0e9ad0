#![doc = include_str!("../README.md")]

mod answer;
mod layer;
mod object;

pub use layer::HttpLayer;
