use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An exclusive lock on a name, across tasks and processes, held until it is dropped.
///
/// It is a `flock` on a file of that name. The kernel lets go of it when the process dies, however it
/// dies; the file goes when the holder drops the lock.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct KeyLock {
    path: PathBuf,
    /// Open for as long as the lock is held: closing it is what unlocks.
    _file: File,
}

/// A `flock` gives no event to wait for, so waiting looks again, ever more rarely.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(250);

impl KeyLock {
    /// Waits until the lock on the file `path` is free and takes it.
    ///
    /// Cancelling (dropping the future) gives up the place in the queue and leaves nothing.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made or locked.
    pub async fn acquire(path: PathBuf) -> io::Result<Self> {
        let mut wait = FIRST_WAIT;
        loop {
            if let Some(lock) = Self::try_acquire(&path)? {
                return Ok(lock);
            }
            tokio::time::sleep(wait).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made or locked.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The former holder unlinks the file before it lets go, so this may be a lock on a file
            // that has no name any more, while somebody else locks its successor.
            if is_at(&file, path)? {
                return Ok(Some(Self {
                    path: path.to_owned(),
                    _file: file,
                }));
            }
        }
    }

    /// Removes the lock files in `dir` that nobody holds: those of holders that were killed.
    ///
    /// # Errors
    ///
    /// The directory cannot be read. A lock file that cannot be removed is left: it is no lock.
    pub fn sweep(dir: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            // Taken and dropped, it goes.
            drop(Self::try_acquire(&entry?.path()));
        }
        Ok(())
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Failing to unlink leaves an empty file and no lock: the next holder takes it over.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether `path` still leads to the open `file`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_held_lock_is_refused_and_a_dropped_one_is_free_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let held = KeyLock::try_acquire(&path).unwrap().unwrap();
        assert!(KeyLock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        assert!(KeyLock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn a_sweep_takes_the_locks_of_the_dead_and_leaves_those_that_are_held() {
        let dir = tempfile::tempdir().unwrap();
        let held = KeyLock::try_acquire(&dir.path().join("held")).unwrap();
        std::fs::write(dir.path().join("dead"), "").unwrap();
        KeyLock::sweep(dir.path()).unwrap();
        let left: Vec<_> = dir.path().read_dir().unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].as_ref().unwrap().file_name(), "held");
        drop(held);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_tasks_hold_it_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let holders = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let (path, holders) = (path.clone(), holders.clone());
                tokio::spawn(async move {
                    for _ in 0..10 {
                        let _lock = KeyLock::acquire(path.clone()).await.unwrap();
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        tokio::task::yield_now().await;
                        holders.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
