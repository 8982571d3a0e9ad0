use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    CacheLayer, KeyLock, LayerError, LayerErrorKind, Lookup, Snapshot, Staging, blocking,
};

use crate::Budget;
use crate::directory::Directory;
use crate::layout::Layout;
use crate::removal::{Removal, recover, remove_unused};

/// Snapshots in a directory of this host. Any number of processes may use one directory at once.
#[derive(Debug, Clone)]
pub struct DiskLayer(Arc<Directory>);

impl DiskLayer {
    /// Opens the layer in the directory `root`, making it as needed, and puts in order what processes that died
    /// left: what they had staged, and entries that they were changing.
    ///
    /// A directory that can be read and not written to makes a layer whose hits are hits, and whose `put` and
    /// `remove` are [`Denied`](LayerErrorKind::Denied).
    ///
    /// # Errors
    ///
    /// The directory cannot be made or read.
    pub fn open(root: &Path) -> io::Result<Self> {
        // QEMU takes a relative name as relative to the overlay, not to us.
        let root = std::path::absolute(root)?;
        let layout = Layout::new(root);
        let staging = match open_to_write(&layout) {
            Ok(staging) => Some(staging),
            Err(error) if is_read_only(&error) && layout.root().read_dir().is_ok() => {
                let root = layout.root().display();
                tracing::warn!(%error, "the cache directory `{root}` can be read and not written to: nothing new is kept");
                None
            }
            Err(error) => return Err(error),
        };
        Ok(Self::of(layout, staging))
    }

    /// The layer in the directory `root`, for whoever only looks: nothing is made there and nothing put in order, and
    /// its `put` and `remove` are [`Denied`](LayerErrorKind::Denied). The directory need not be there: then all is a miss.
    ///
    /// # Errors
    ///
    /// A relative path cannot be made absolute, because the current directory is gone.
    pub fn only_to_look(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        Ok(Self::of(Layout::new(root), None))
    }

    fn of(layout: Layout, staging: Option<Staging>) -> Self {
        Self(Arc::new(Directory {
            layout,
            staging,
            budget: Budget::default(),
            qemu_img: "qemu-img".into(),
        }))
    }

    /// Keeps to `budget` whenever something is stored; without one, only a full disk makes room.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        let directory = Directory::clone(&self.0);
        Self(Arc::new(Directory {
            budget,
            ..directory
        }))
    }

    /// Checks what comes in with the program `qemu_img`: a path, or a name to be found on `PATH`. It is
    /// `qemu-img` where nothing is said.
    #[must_use]
    pub fn with_qemu_img(self, qemu_img: impl Into<PathBuf>) -> Self {
        let directory = Directory::clone(&self.0);
        Self(Arc::new(Directory {
            qemu_img: qemu_img.into(),
            ..directory
        }))
    }

    /// The staging directory on this layer's file system, in which snapshots are best made; `None` where the
    /// layer's directory cannot be written to.
    #[must_use]
    pub fn staging(&self) -> Option<&Staging> {
        self.0.staging.as_ref()
    }

    /// The directory of the layer.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.0.layout.root()
    }

    /// What the layer may take.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.0.budget
    }

    /// Runs `work` on the directory on a thread that may wait.
    pub(crate) async fn on<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> T + Send + 'static,
    ) -> T {
        let directory = self.0.clone();
        blocking(move || work(&directory)).await
    }

    pub(crate) async fn lock_entry(&self, key: &CacheKey) -> Result<KeyLock, LayerError> {
        let lock = KeyLock::acquire(self.0.layout.entry_lock(key)).await;
        lock.map_err(|error| LayerError::from_io(format!("lock the entry {key}"), error))
    }

    /// The same for whoever mends what it finds, where that can be: a directory that is only read needs no lock.
    pub(crate) async fn lock_entry_to_look(
        &self,
        key: &CacheKey,
    ) -> Result<Option<KeyLock>, LayerError> {
        match self.staging() {
            Some(_) => self.lock_entry(key).await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn require_writable(&self) -> Result<(), LayerError> {
        self.0.require_writable().map(drop)
    }

    /// Held by whoever makes room until that room is taken, so that two do not take the same.
    pub(crate) async fn lock_room(&self) -> Result<KeyLock, LayerError> {
        let lock = KeyLock::acquire(self.0.layout.room_lock()).await;
        let root = self.root().display();
        lock.map_err(|error| LayerError::from_io(format!("make room in `{root}`"), error))
    }

    async fn publish(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let snapshot = snapshot.clone();
        self.on(move |directory| directory.publish(&snapshot)).await
    }
}

#[async_trait]
impl CacheLayer for DiskLayer {
    fn name(&self) -> &'static str {
        "l2-disk"
    }

    async fn get(&self, spec: &SnapshotSpec, _staging: &Staging) -> Result<Lookup, LayerError> {
        // On this thread: a dozen system calls on what is nearly always in memory, and no waiting for a lock, cost
        // a third of handing them to another thread.
        if let Some(lookup) = self.0.look(spec)? {
            return Ok(lookup);
        }
        // Somebody may be replacing it just now. With the lock, what is there is what stays.
        let _lock = self.lock_entry_to_look(&spec.key()).await?;
        let wanted = spec.clone();
        self.on(move |directory| directory.settle(&wanted)).await
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        self.require_writable()?;
        let _lock = self.lock_entry(snapshot.key()).await?;
        let new = snapshot.clone();
        let there = self.on(move |directory| directory.already_there(&new));
        if let Some(stored) = there.await {
            return Ok(stored);
        }
        let mut room = None;
        if self.budget().is_limited() {
            room = Some(self.lock_room().await?);
            let new = snapshot.clone();
            self.on(move |directory| directory.fit(&new)).await?;
        }
        match self.publish(snapshot).await {
            Err(full) if full.kind() == LayerErrorKind::OutOfSpace => {
                let _room = match room {
                    Some(room) => room,
                    None => self.lock_room().await?,
                };
                let new = snapshot.clone();
                self.on(move |directory| directory.clear(&new, full))
                    .await?;
                self.publish(snapshot).await
            }
            published => published,
        }
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        self.require_writable()?;
        let _lock = self.lock_entry(key).await?;
        let key = key.clone();
        let context = format!("remove the entry {key}");
        let removed = self
            .on(move |directory| remove_unused(&directory.layout, &key))
            .await;
        match removed {
            Ok(Removal::Gone) => Ok(()),
            Ok(Removal::InUse) => {
                let kind = LayerErrorKind::Unavailable { temporary: true };
                Err(LayerError::new(kind, format!("{context}: it is in use")))
            }
            Err(error) => Err(LayerError::from_io(context, error)),
        }
    }
}

impl fmt::Display for DiskLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l2-disk({})", self.root().display())
    }
}

/// Makes what is missing of the layer's directory and puts in order what is left of dead processes.
fn open_to_write(layout: &Layout) -> io::Result<Staging> {
    let staging = Staging::open(layout.root())?;
    match fs::create_dir(layout.changing()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    recover(layout)?;
    Ok(staging)
}

fn is_read_only(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::ReadOnlyFilesystem || kind == io::ErrorKind::PermissionDenied
}
