//! The local tier: snapshots as qcow2 files in one directory.
