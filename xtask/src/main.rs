//! The developer desk.
fn main() {}
