//! Opening the disk of an entry, and locking it: shared by those who use it, alone by whoever removes it.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// What stands at the place of an entry's disk.
#[derive(Debug)]
pub(crate) enum Pinned {
    Absent,
    /// Somebody removes it, or asks whether he may.
    Busy,
    /// A directory, a symbolic link, a pipe: nothing of ours.
    NotAFile,
    /// Nobody removes the entry for as long as the pin is held.
    File(Pin, Metadata),
}

/// Whether an entry may be removed.
#[derive(Debug)]
#[must_use = "the entry can be used again as soon as this is dropped"]
pub(crate) enum Claim {
    /// There is nothing to remove.
    Absent,
    /// Nothing of ours: nobody can be using it.
    NotAFile,
    /// A snapshot that was handed out, by any process, holds it.
    InUse,
    /// Nobody uses it, and whoever begins to waits until this is dropped.
    Granted(#[expect(dead_code, reason = "held is what keeps the lock")] Pin),
}

/// An open disk that is locked until this is dropped.
#[derive(Debug)]
pub(crate) struct Pin(File);

impl Pin {
    /// Locks the disk against removal, waiting for whoever is about to remove it.
    pub(crate) fn shared(file: File) -> io::Result<Self> {
        file.lock_shared()?;
        Ok(Self(file))
    }
}

impl Deref for Pin {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // To close it is not enough: a process that is being started has a copy of each open file until its program
        // begins, and the lock belongs to all copies.
        let _ = self.0.unlock();
    }
}

/// Opens the disk at `path` and locks it against removal, waiting for whoever is about to remove it.
pub(crate) fn pin(path: &Path) -> io::Result<Pinned> {
    pin_with(path, |file| Pin::shared(file).map(Some))
}

/// The same without waiting.
pub(crate) fn try_pin(path: &Path) -> io::Result<Pinned> {
    pin_with(path, |file| match file.try_lock_shared() {
        Ok(()) => Ok(Some(Pin(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    })
}

/// The same without a lock, for whoever only looks: nobody is kept from anything.
pub(crate) fn peek(path: &Path) -> io::Result<Pinned> {
    pin_with(path, |file| Ok(Some(Pin(file))))
}

fn pin_with(path: &Path, lock: impl FnOnce(File) -> io::Result<Option<Pin>>) -> io::Result<Pinned> {
    let Some(file) = open(path)? else {
        return absent_or_no_file(path);
    };
    // Before anything is looked at: whoever removes entries leaves alone what is locked.
    let Some(pin) = lock(file)? else {
        return Ok(Pinned::Busy);
    };
    let data = pin.metadata()?;
    if !data.is_file() {
        return Ok(Pinned::NotAFile);
    }
    // It may have been removed between the two.
    Ok(match is_still_at(&data, path)? {
        true => Pinned::File(pin, data),
        false => Pinned::Absent,
    })
}

/// Asks for the right to remove the disk at `path`. Never waits.
pub(crate) fn claim(path: &Path) -> io::Result<Claim> {
    let Some(file) = open(path)? else {
        return Ok(match absent_or_no_file(path)? {
            Pinned::Absent => Claim::Absent,
            _ => Claim::NotAFile,
        });
    };
    let data = file.metadata()?;
    if !data.is_file() {
        return Ok(Claim::NotAFile);
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Claim::InUse),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let pin = Pin(file);
    Ok(match is_still_at(&data, path)? {
        true => Claim::Granted(pin),
        // Somebody put another one there, and uses it.
        false => Claim::InUse,
    })
}

/// Opens what is at `path`, unless it is nothing or a symbolic link: not through one out of the directory, and
/// not waiting for a pipe that was put there.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_link(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn absent_or_no_file(path: &Path) -> io::Result<Pinned> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_symlink() => Ok(Pinned::NotAFile),
        // What can be opened appeared only now.
        Ok(_) => Ok(Pinned::Absent),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Pinned::Absent),
        Err(error) => Err(error),
    }
}

fn is_still_at(open: &Metadata, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_free_when_it_is_let_go_though_a_process_that_just_starts_has_a_copy_of_the_file()
    {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        fs::write(&disk, "").unwrap();
        let Pinned::File(pin, _) = pin(&disk).unwrap() else {
            panic!("it is there");
        };
        let of_the_child = pin.try_clone().unwrap();
        assert!(matches!(claim(&disk).unwrap(), Claim::InUse));
        drop(pin);
        let claimed = claim(&disk).unwrap();
        assert!(matches!(claimed, Claim::Granted(_)), "{claimed:?}");
        drop((claimed, of_the_child));
    }
}
