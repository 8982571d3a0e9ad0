//! A layer of files in a directory that is right but for one flaw.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    CacheLayer, ContentDigest, Disk, LayerError, LayerErrorKind, Lookup, Manifest, Provenance,
    Snapshot, Staging,
};
use jiff::Timestamp;
use tokio::task::yield_now;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    InventsHits,
    Forgets,
    ForgetsWhatIsResolved,
    BorrowsTheSource,
    RefusesASecondPut,
    MixesBuilds,
    ForgetsToRemove,
    NeverTakesBackWhatWasRemoved,
    MissesWhatIsToBeRemoved,
    RemovesEverything,
    RemovesWhatIsInUse,
    KnowsOnlyItsOwn,
    HasNoName,
    TrustsKeys,
    TakesAnyBase,
    TrustsManifests,
    SwallowsErrors,
    TearsPuts,
    SharesATemporaryFile,
    LittersStaging,
    TearsRemovals,
    Panics,
}

#[derive(Debug)]
pub(crate) struct Careless {
    root: PathBuf,
    flaw: Flaw,
    temporary: AtomicUsize,
    own: Mutex<HashSet<CacheKey>>,
    removed: Mutex<HashSet<CacheKey>>,
}

impl Careless {
    pub(crate) fn open(root: &Path, flaw: Flaw) -> Self {
        Self {
            root: root.to_owned(),
            flaw,
            temporary: AtomicUsize::new(0),
            own: Mutex::default(),
            removed: Mutex::default(),
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// An entry is one file: the length of the manifest in 8 bytes, the manifest, the disk.
    fn path(&self, key: &CacheKey) -> PathBuf {
        self.root.join(format!("{key}.entry"))
    }

    fn temporary(&self) -> PathBuf {
        let number = match self.flaw {
            Flaw::SharesATemporaryFile => 0,
            _ => self.temporary.fetch_add(1, Ordering::SeqCst),
        };
        let process = std::process::id();
        self.root.join(format!("{process}-{self:p}-{number}.new"))
    }

    fn read(&self, key: &CacheKey) -> io::Result<Option<(Manifest, Vec<u8>)>> {
        let entry = match fs::read(self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entry => entry?,
        };
        let Some((length, rest)) = entry.split_first_chunk() else {
            return Ok(None);
        };
        let manifest = &rest[..u64::from_le_bytes(*length) as usize];
        let disk = rest[manifest.len()..].to_vec();
        let manifest = Manifest::from_json(manifest).map_err(io::Error::other)?;
        Ok(Some((manifest, disk)))
    }

    fn invented(&self, spec: &SnapshotSpec) -> Snapshot {
        let disk = Disk::of_reader(io::empty(), 0).unwrap();
        let provenance = Provenance::new(Timestamp::UNIX_EPOCH, "nobody");
        let manifest = Manifest::new(spec.canonical(), disk, provenance);
        Snapshot::new(self.root.join("nothing"), manifest)
    }
}

fn is_of(bytes: &[u8], disk: &Disk) -> bool {
    bytes.len() as u64 == disk.file_bytes && ContentDigest::of_reader(bytes).unwrap() == disk.blake3
}

fn failed(error: io::Error) -> LayerError {
    LayerError::from_io("do it", error)
}

fn error(kind: LayerErrorKind) -> LayerError {
    LayerError::new(kind, "do it")
}

#[async_trait]
impl CacheLayer for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        yield_now().await;
        let key = spec.key();
        let Some((mut manifest, bytes)) = self.read(&key).map_err(failed)? else {
            return Ok(match self.flaw {
                Flaw::InventsHits => Lookup::Hit(self.invented(spec)),
                _ => Lookup::Miss,
            });
        };
        let base = spec.base_image().path().to_str().unwrap().as_bytes();
        let stands_on_it = bytes
            .get(..4096)
            .is_some_and(|header| header.windows(base.len()).any(|window| window == base));
        let takes_any = [Flaw::TakesAnyBase, Flaw::TearsPuts, Flaw::BorrowsTheSource];
        let is_known = self.own.lock().unwrap().contains(&key);
        if (*manifest.spec() != spec.canonical() && !self.has(Flaw::TrustsKeys))
            || (!stands_on_it && !takes_any.contains(&self.flaw))
            || (!is_known && self.has(Flaw::KnowsOnlyItsOwn))
        {
            return Ok(Lookup::Miss);
        }
        if self.has(Flaw::BorrowsTheSource) {
            let path = PathBuf::from(String::from_utf8(bytes).unwrap());
            return Ok(Lookup::Hit(Snapshot::new(path, manifest)));
        }
        if self.has(Flaw::ForgetsWhatIsResolved) {
            let disk = *manifest.disk();
            let provenance = Provenance {
                built_by: "careless".to_owned(),
                ..manifest.provenance().clone()
            };
            manifest = Manifest::new(manifest.spec().clone(), disk, provenance);
        }
        if self.has(Flaw::RemovesWhatIsInUse) {
            let path = self.path(&key).with_extension("out");
            fs::write(&path, bytes).map_err(failed)?;
            return Ok(Lookup::Hit(Snapshot::new(path, manifest)));
        }
        let mut staged = Some(staging.file(&key));
        let path = staged.as_ref().unwrap().path().to_owned();
        if self.has(Flaw::LittersStaging) {
            std::mem::forget(staged.take());
        }
        let mut file = File::create_new(&path).map_err(failed)?;
        file.write_all(&bytes[..bytes.len() / 2]).map_err(failed)?;
        yield_now().await;
        file.write_all(&bytes[bytes.len() / 2..]).map_err(failed)?;
        let guard = Removed(staged.is_none().then(|| path.clone()));
        Ok(Lookup::Hit(
            Snapshot::new(path, manifest).held_by((staged, guard)),
        ))
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        yield_now().await;
        let key = snapshot.key();
        let refused = (self.has(Flaw::RefusesASecondPut) && self.path(key).exists())
            || (self.has(Flaw::NeverTakesBackWhatWasRemoved)
                && self.removed.lock().unwrap().contains(key));
        if refused {
            return Err(error(LayerErrorKind::Invalid));
        }
        if self.has(Flaw::Panics) {
            panic!("no more ideas");
        }
        let mut bytes = match fs::read(snapshot.path()) {
            Err(_) if self.has(Flaw::SwallowsErrors) => return Ok(snapshot.clone()),
            bytes => bytes.map_err(failed)?,
        };
        if !is_of(&bytes, snapshot.manifest().disk()) && !self.has(Flaw::TrustsManifests) {
            return Err(error(LayerErrorKind::Corrupt));
        }
        if self.has(Flaw::Forgets) {
            return Ok(snapshot.clone());
        }
        if self.has(Flaw::BorrowsTheSource) {
            bytes = snapshot.path().to_str().unwrap().as_bytes().to_vec();
        }
        let manifest = snapshot.manifest().to_json();
        let mut entry = (manifest.len() as u64).to_le_bytes().to_vec();
        entry.extend(&manifest);
        match self.read(key).map_err(failed)? {
            Some((_, there)) if self.has(Flaw::MixesBuilds) => entry.extend(there),
            _ => entry.extend(bytes),
        }
        let temporary = match self.flaw {
            Flaw::TearsPuts => self.path(key),
            _ => self.temporary(),
        };
        let mut file = File::create(&temporary).map_err(failed)?;
        // In the order in which a disk gets them: never the whole at once.
        for part in entry.chunks(entry.len().div_ceil(4)) {
            file.write_all(part).map_err(failed)?;
            // Long enough for another to be in the midst of it too.
            if matches!(self.flaw, Flaw::TearsPuts | Flaw::SharesATemporaryFile) {
                thread::sleep(Duration::from_millis(2));
            }
            yield_now().await;
        }
        fs::rename(&temporary, self.path(key)).map_err(failed)?;
        self.own.lock().unwrap().insert(key.clone());
        Ok(snapshot.clone())
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        yield_now().await;
        self.removed.lock().unwrap().insert(key.clone());
        match self.flaw {
            Flaw::ForgetsToRemove => return Ok(()),
            Flaw::RemovesEverything => {
                for entry in fs::read_dir(&self.root).map_err(failed)? {
                    let path = entry.map_err(failed)?.path();
                    if path
                        .extension()
                        .is_some_and(|extension| extension == "entry")
                    {
                        fs::remove_file(path).map_err(failed)?;
                    }
                }
            }
            Flaw::RemovesWhatIsInUse => {
                let _ = fs::remove_file(self.path(key).with_extension("out"));
            }
            Flaw::TearsRemovals if self.path(key).exists() => {
                let file = File::options().write(true).open(self.path(key));
                let file = file.map_err(failed)?;
                let bytes = file.metadata().map_err(failed)?.len();
                file.set_len(bytes - 1).map_err(failed)?;
                yield_now().await;
            }
            _ => {}
        }
        match fs::remove_file(self.path(key)) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && !self.has(Flaw::MissesWhatIsToBeRemoved) =>
            {
                Ok(())
            }
            removed => removed.map_err(failed),
        }
    }
}

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flaw {
            Flaw::HasNoName => f.write_str("a layer"),
            flaw => write!(f, "careless({flaw:?})"),
        }
    }
}

/// Removes a file that nobody else does.
struct Removed(Option<PathBuf>);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}
