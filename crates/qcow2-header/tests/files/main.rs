//! Files that `qemu-img` makes pass; each way of making one dangerous or damaged is refused by name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
mod edits;
mod hostile;
mod mutations;
mod qemu;
mod qemu_made;
mod rebase;

use std::io::Cursor;

use qcow2_header::{Qcow2Error, Qcow2Header};

/// What a snapshot has to get past.
fn check(bytes: &[u8]) -> Result<Qcow2Header, Qcow2Error> {
    let header = Qcow2Header::read(Cursor::new(bytes))?;
    header.require_overlay()?;
    header.check_tables(Cursor::new(bytes))?;
    Ok(header)
}
