//! The files of the outbox. All of it may wait for the disk.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cache_layer::{KeyLock, MAX_MANIFEST_BYTES, Staging};
use serde::Deserialize;

use super::entry::{Entry, FORMAT_VERSION};
use super::layout::{Layout, Name};

#[derive(Debug, Clone)]
pub(super) struct Journal {
    layout: Layout,
    /// Where a file is made before a rename puts it in place: a crash leaves nothing that nobody sweeps.
    staging: Staging,
}

/// Why a file is no entry of ours.
#[derive(Debug)]
pub(super) enum ReadError {
    Malformed(serde_json::Error),
    Newer { format_version: u32 },
    Io(io::Error),
}

impl Journal {
    pub(super) fn open(staging: &Staging) -> io::Result<Self> {
        let layout = Layout::in_root(staging.root());
        let is_new = !layout.dir().exists();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(layout.locks())?;
        if is_new {
            File::open(staging.root())?.sync_all()?;
        }
        KeyLock::sweep(&layout.locks())?;
        Ok(Self {
            layout,
            staging: staging.clone(),
        })
    }

    pub(super) fn dir(&self) -> &Path {
        self.layout.dir()
    }

    pub(super) fn names(&self) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for file in fs::read_dir(self.layout.dir())? {
            names.extend(Layout::name_of(&file?.file_name()));
        }
        Ok(names)
    }

    /// The entry; `None` if there is none any more.
    pub(super) fn read(&self, name: &Name) -> Result<Option<Entry>, ReadError> {
        let file = match File::open(self.layout.entry(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ReadError::Io(error)),
        };
        let mut json = Vec::new();
        file.take(MAX_MANIFEST_BYTES)
            .read_to_end(&mut json)
            .map_err(ReadError::Io)?;
        parse(&json, name).map(Some)
    }

    /// Makes or replaces an entry. It is on the disk when this returns.
    pub(super) fn write(&self, entry: &Entry) -> io::Result<()> {
        let _turn = self.turn()?;
        self.put_in_place(entry)
    }

    /// Removes an entry. One that is gone already is no error.
    ///
    /// That is not forced to the disk: an entry that comes back after a power cut costs one question to a
    /// remote layer that has the snapshot by then.
    pub(super) fn remove(&self, name: &Name) -> io::Result<()> {
        match fs::remove_file(self.layout.entry(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes of an entry what `change` says, nothing for `None`. Says whether there is one; what cannot be read is
    /// none.
    pub(super) fn change(
        &self,
        name: &Name,
        change: impl FnOnce(Entry) -> Option<Entry>,
    ) -> io::Result<bool> {
        let _turn = self.turn()?;
        let entry = match self.read(name) {
            Ok(Some(entry)) => entry,
            Err(ReadError::Io(error)) => return Err(error),
            Ok(None) | Err(_) => return Ok(false),
        };
        match change(entry.clone()) {
            Some(same) if same == entry => {}
            Some(changed) => self.put_in_place(&changed)?,
            None => self.remove(name)?,
        }
        Ok(true)
    }

    /// Moves a damaged entry out of the way, and says where it is now. `None` if it is gone, or sound by now.
    pub(super) fn set_aside(&self, name: &Name) -> io::Result<Option<PathBuf>> {
        let _turn = self.turn()?;
        if !matches!(self.read(name), Err(ReadError::Malformed(_))) {
            return Ok(None);
        }
        let damaged = self.layout.damaged(name);
        fs::rename(self.layout.entry(name), &damaged)?;
        Ok(Some(damaged))
    }

    /// The right to make the upload, if nobody has it.
    pub(super) fn try_lock(&self, name: &Name) -> io::Result<Option<KeyLock>> {
        KeyLock::try_acquire(&self.layout.lock(name))
    }

    /// Waits for the right to make the upload.
    pub(super) async fn lock(&self, name: &Name) -> io::Result<KeyLock> {
        KeyLock::acquire(self.layout.lock(name)).await
    }

    /// One at a time, in any process, changes what another may be changing.
    fn turn(&self) -> io::Result<File> {
        let turn = File::open(self.layout.dir())?;
        turn.lock()?;
        Ok(turn)
    }

    fn put_in_place(&self, entry: &Entry) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(entry)?;
        json.push(b'\n');
        let staged = self.staging.file(&entry.key);
        let mut file = File::create(staged.path())?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(staged.path(), self.layout.entry(&entry.name()))?;
        File::open(self.layout.dir())?.sync_all()
    }
}

fn parse(json: &[u8], name: &Name) -> Result<Entry, ReadError> {
    /// Enough of any version's entry to tell its version.
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }

    let Version { format_version } = serde_json::from_slice(json).map_err(ReadError::Malformed)?;
    if format_version > FORMAT_VERSION {
        return Err(ReadError::Newer { format_version });
    }
    let entry: Entry = serde_json::from_slice(json).map_err(ReadError::Malformed)?;
    if entry.name() != *name {
        let error = serde::de::Error::custom("it is of another upload than its name");
        return Err(ReadError::Malformed(error));
    }
    Ok(entry)
}
