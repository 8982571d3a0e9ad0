//! A snapshot cache for microVMs: from a package list to a bootable disk.
