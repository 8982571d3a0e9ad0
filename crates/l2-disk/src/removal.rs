//! Taking an entry away.

use std::fs;
use std::io;
use std::path::Path;

use cache_key::CacheKey;
use cache_layer::KeyLock;

use crate::catalog;
use crate::layout::Layout;
use crate::pin::{Claim, claim};

/// How the removal of an entry went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is gone, or was not there.
    Gone,
    /// It is in use, or is being changed, and is left as it is.
    InUse,
}

/// Removes the entry of `key` unless somebody uses it. The caller holds its lock.
pub(crate) fn remove_unused(layout: &Layout, key: &CacheKey) -> io::Result<Removal> {
    let claim = claim(&layout.disk(key))?;
    if let Claim::InUse = claim {
        return Ok(Removal::InUse);
    }
    // The claim is held until all is done: who comes to read waits, and finds nothing.
    remove(layout, key).map(|()| Removal::Gone)
}

/// The same, with the entry's lock taken for it. Never waits: one that is being changed is in use.
pub(crate) fn evict(layout: &Layout, key: &CacheKey) -> io::Result<Removal> {
    match KeyLock::try_acquire(&layout.entry_lock(key))? {
        Some(_lock) => remove_unused(layout, key),
        None => Ok(Removal::InUse),
    }
}

/// Whether an entry could be evicted now.
pub(crate) fn is_unused(layout: &Layout, key: &CacheKey) -> io::Result<bool> {
    Ok(!matches!(claim(&layout.disk(key))?, Claim::InUse))
}

/// Removes an entry whoever uses it, first what makes it one: those who have it open keep what they have. The
/// caller holds its lock.
pub(crate) fn remove(layout: &Layout, key: &CacheKey) -> io::Result<()> {
    remove_file(&layout.disk(key))?;
    remove_file(&layout.sidecar(key))?;
    sync_dir(layout.root())
}

/// Puts in order what processes left that died in the midst of a change. Their locks say where.
pub(crate) fn recover(layout: &Layout) -> io::Result<()> {
    for lock in fs::read_dir(layout.changing())? {
        let path = lock?.path();
        let key = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        // Dropped, an abandoned lock goes.
        let Some(_lock) = KeyLock::try_acquire(&path)? else {
            continue;
        };
        if let Some(key) = key {
            remove_orphan(layout, &key)?;
        }
    }
    Ok(())
}

/// Removes every sidecar that stands beside no disk. Reads the whole directory: a start-up need not, since
/// [`recover`] knows where to look.
pub(crate) fn sweep_orphans(layout: &Layout) -> io::Result<()> {
    for key in catalog::orphans(layout)? {
        if let Some(_lock) = KeyLock::try_acquire(&layout.entry_lock(&key))? {
            remove_orphan(layout, &key)?;
        }
    }
    Ok(())
}

/// Removes the sidecar of `key` if it stands alone: its disk was removed, or never came. The caller holds the
/// entry's lock.
pub(crate) fn remove_orphan(layout: &Layout, key: &CacheKey) -> io::Result<()> {
    match fs::symlink_metadata(layout.disk(key)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => remove_file(&layout.sidecar(key)),
        looked => looked.map(drop),
    }
}

/// Removes a file or a link. A directory is nobody's entry, and stays.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
