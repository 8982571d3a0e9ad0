//! Makes and finds the bootable base images that snapshots are built on.
