//! What entries there are.

use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use cache_key::CacheKey;

use crate::layout::Layout;

/// An entry of the layer, by what its files say without being read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The snapshot's name.
    pub key: CacheKey,
    /// What its files take on the disk, in bytes: holes take none.
    pub disk_bytes: u64,
    /// The length of the qcow2 file in bytes, holes included.
    pub file_bytes: u64,
    /// When it was last handed out, or came in.
    pub last_used: SystemTime,
}

/// Every entry, in no order. What is no regular file is none. Reads the directory and each entry's inodes, and
/// nothing in them.
pub(crate) fn entries(layout: &Layout) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(layout.root())? {
        let file = file?;
        if let Some(key) = Layout::key_of_disk(&file.path()) {
            entries.extend(entry(layout, key, &file)?);
        }
    }
    Ok(entries)
}

/// The keys of all disks, sorted; none where there is no directory. Reads the directory, and nothing in it.
pub(crate) fn keys(layout: &Layout) -> io::Result<Vec<CacheKey>> {
    let mut keys = Vec::new();
    for file in there(fs::read_dir(layout.root()))?.into_iter().flatten() {
        keys.extend(Layout::key_of_disk(&file?.path()));
    }
    keys.sort();
    Ok(keys)
}

/// `None` when it is gone by now, or is nothing of ours.
fn entry(layout: &Layout, key: CacheKey, disk: &DirEntry) -> io::Result<Option<Entry>> {
    let Some(disk) = there(disk.metadata())?.filter(fs::Metadata::is_file) else {
        return Ok(None);
    };
    let sidecar = there(fs::symlink_metadata(layout.sidecar(&key)))?;
    let last_used = sidecar.as_ref().unwrap_or(&disk).modified()?;
    Ok(Some(Entry {
        key,
        disk_bytes: disk_bytes(&disk) + sidecar.as_ref().map_or(0, disk_bytes),
        file_bytes: disk.len(),
        last_used,
    }))
}

/// What a file takes on the disk, in bytes. `st_blocks` counts 512 of them, whatever the file system's blocks are.
pub(crate) fn disk_bytes(data: &fs::Metadata) -> u64 {
    data.blocks() * 512
}

/// The keys of all sidecars that stand beside no disk.
pub(crate) fn orphans(layout: &Layout) -> io::Result<Vec<CacheKey>> {
    let mut orphans = Vec::new();
    for file in fs::read_dir(layout.root())? {
        let Some(key) = Layout::key_of_sidecar(&file?.path()) else {
            continue;
        };
        if there(fs::symlink_metadata(layout.disk(&key)))?.is_none() {
            orphans.push(key);
        }
    }
    Ok(orphans)
}

fn there<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
