use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_key::CacheKey;

use crate::KeyLock;

/// A private directory in which snapshots are made before they are published by rename.
///
/// It lies in the root of the fastest layer, so that publishing stays within one file system:
///
/// ```text
/// {root}/.staging/{process}-{n}/owner     locked for as long as its process lives
/// {root}/.staging/{process}-{n}/{n}-{key}.qcow2
/// {root}/.locks/{key}                     held by whoever builds the key, in any process
/// ```
///
/// Opening it sweeps what dead processes left behind. Clones share one directory, which goes with the
/// last of them and the last [`StagedFile`].
#[derive(Debug, Clone)]
pub struct Staging(Arc<Area>);

/// A path in the staging directory for one file. Whatever is there when it is dropped is removed.
#[derive(Debug)]
#[must_use = "the file is removed as soon as this is dropped"]
pub struct StagedFile {
    path: PathBuf,
    /// The directory must outlive the file.
    _area: Arc<Area>,
}

impl Staging {
    /// Opens a staging directory in `root`, making both as needed (mode 0700 for what is private), and
    /// removes the directories and the lock files of processes that no longer live.
    ///
    /// # Errors
    ///
    /// A directory cannot be made or read. What cannot be swept is left with a warning.
    pub fn open(root: &Path) -> io::Result<Self> {
        let layout = Layout {
            root: root.to_owned(),
        };
        fs::create_dir_all(root)?;
        create_private(&layout.locks())?;
        create_private(&layout.staging())?;
        // One process at a time makes its directory and sweeps, or a sweep could take a directory whose
        // owner has not locked it yet for a dead one.
        let turn = File::open(layout.staging())?;
        turn.lock()?;
        sweep(&layout)?;
        KeyLock::sweep(&layout.locks())?;
        Area::create(layout).map(|area| Self(Arc::new(area)))
    }

    /// The layer root that this staging directory serves.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.layout.root
    }

    /// A new path for a file of `key`. Nothing is made there yet.
    pub fn file(&self, key: &CacheKey) -> StagedFile {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.dir.join(format!("{number}-{key}.qcow2"));
        StagedFile {
            path,
            _area: self.0.clone(),
        }
    }

    /// Waits for the right to build `key`, which one task of one process has at a time.
    ///
    /// # Errors
    ///
    /// The lock file cannot be made or locked.
    pub async fn lock_build(&self, key: &CacheKey) -> io::Result<KeyLock> {
        KeyLock::acquire(self.0.layout.locks().join(key.to_string())).await
    }
}

impl StagedFile {
    /// Where the file is, or is to be made.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "a staged file stays behind until the next start");
            }
            _ => {}
        }
    }
}

/// One process's own directory.
#[derive(Debug)]
struct Area {
    layout: Layout,
    dir: PathBuf,
    next: AtomicU64,
    /// Locked while the process lives: it is how a sweep tells the living from the dead.
    _owner: File,
}

impl Area {
    fn create(layout: Layout) -> io::Result<Self> {
        let process = std::process::id();
        let mut number = 0_u64;
        let dir = loop {
            let dir = layout.staging().join(format!("{process}-{number}"));
            match create_new_private(&dir) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                made => break made.map(|()| dir)?,
            }
        };
        let owner = File::create(dir.join(OWNER))?;
        owner.lock()?;
        Ok(Self {
            layout,
            dir,
            next: AtomicU64::new(0),
            _owner: owner,
        })
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[derive(Debug)]
struct Layout {
    root: PathBuf,
}

impl Layout {
    fn staging(&self) -> PathBuf {
        self.root.join(".staging")
    }

    fn locks(&self) -> PathBuf {
        self.root.join(".locks")
    }
}

const OWNER: &str = "owner";

/// Removes the directories whose owner no longer holds its lock.
fn sweep(layout: &Layout) -> io::Result<()> {
    for entry in fs::read_dir(layout.staging())? {
        let dir = entry?.path();
        let swept = match is_owned(&dir) {
            Ok(true) => continue,
            Ok(false) => fs::remove_dir_all(&dir),
            Err(error) => Err(error),
        };
        match swept {
            Ok(()) => tracing::info!(dir = %dir.display(), "swept what a dead process had staged"),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "cannot sweep a staging directory");
            }
        }
    }
    Ok(())
}

/// Whether a living process holds the directory.
fn is_owned(dir: &Path) -> io::Result<bool> {
    match File::open(dir.join(OWNER)) {
        Ok(owner) => match owner.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn create_private(dir: &Path) -> io::Result<()> {
    match create_new_private(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn create_new_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CacheKey {
        "python-v0.1-1a2b3c4d-9f86d081884c7d65".parse().unwrap()
    }

    #[test]
    fn a_dropped_staged_file_is_gone_and_the_last_clone_takes_the_directory_along() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::open(root.path()).unwrap();
        let (one, two) = (staging.file(&key()), staging.file(&key()));
        assert_ne!(one.path(), two.path());
        fs::write(one.path(), "x").unwrap();
        let kept = one.path().to_owned();
        drop(one);
        assert!(!kept.exists());
        drop(staging);
        assert!(
            two.path().parent().unwrap().exists(),
            "a staged file keeps its directory"
        );
        drop(two);
        assert_eq!(root.path().join(".staging").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn opening_sweeps_the_dead_and_leaves_the_living() {
        let root = tempfile::tempdir().unwrap();
        let living = Staging::open(root.path()).unwrap();
        let file = living.file(&key());
        fs::write(file.path(), "x").unwrap();
        let dead = root.path().join(".staging/4000000-0");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("0-x.qcow2"), "half").unwrap();

        let _second = Staging::open(root.path()).unwrap();

        assert!(!dead.exists());
        assert!(file.path().exists());
    }

    #[tokio::test]
    async fn the_right_to_build_a_key_is_one_tasks_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::open(root.path()).unwrap();
        let other = Staging::open(root.path()).unwrap();
        let held = staging.lock_build(&key()).await.unwrap();
        let waiting = tokio::spawn(async move { other.lock_build(&key()).await.map(drop) });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        waiting.await.unwrap().unwrap();
    }
}
