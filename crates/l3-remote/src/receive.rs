//! A snapshot from the store: fetched in ranges, unpacked on worker threads, written by one, held against
//! its manifest.

use std::iter;

use cache_key::{BaseImage, CacheKey, SnapshotSpec};
use cache_layer::{
    InPhase, LayerError, Manifest, ManifestError, Phase, ProgressEvent, ProgressSink, Snapshot,
    Staging, blocking,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use opendal::{Buffer, ErrorKind, Operator};
use tokio::sync::mpsc;

use crate::body::{Body, Version};
use crate::fault::{corrupt, layer_error};
use crate::object::{Beginning, Frame, ObjectError, Splitter, unpack};
use crate::pool::{Pool, Pooled};
use crate::unmanifested;
use crate::unpacked::Unpacked;

/// A download, all but what is downloaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiver<'a> {
    pub(crate) store: &'a Operator,
    pub(crate) staging: &'a Staging,
    pub(crate) workers: usize,
    pub(crate) progress: &'a dyn ProgressSink,
    /// Take what has no manifest for what its name says; with it goes where it comes from.
    pub(crate) accept_unmanifested: Option<&'a str>,
}

/// What is looked for under a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// The snapshot of this request, to be over this host's base image.
    Spec(&'a SnapshotSpec),
    /// Whatever snapshot has this name, as it is.
    Key(&'a CacheKey),
}

/// What was found under a name.
#[derive(Debug)]
pub(crate) enum Received {
    /// What was looked for.
    Snapshot(Snapshot),
    /// Nothing.
    Absent,
    /// Something else, which may be replaced.
    Other,
    /// Something of a newer release, which stays.
    Newer,
}

/// How often an object that is replaced while it is read is begun anew.
const BEGINNINGS: usize = 3;

impl Receiver<'_> {
    /// Fetches the object `path` into staging, if it is there and is what is wanted.
    pub(crate) async fn receive(
        &self,
        path: &str,
        wanted: Wanted<'_>,
    ) -> Result<Received, LayerError> {
        let mut beginnings = 1;
        loop {
            let failed = |error| layer_error(format!("download {path}"), error);
            let Some(body) = Body::open(self.store, path).await.map_err(failed)? else {
                return Ok(Received::Absent);
            };
            let version = body.version().clone();
            match self.take_in(body, path, wanted).await {
                Err(_) if beginnings < BEGINNINGS && self.is_replaced(path, &version).await => {
                    tracing::debug!(path, "an object was replaced while it was read");
                    beginnings += 1;
                }
                received => return received,
            }
        }
    }

    /// Whether there is another object now, so that what went wrong with this one says nothing.
    async fn is_replaced(&self, path: &str, version: &Version) -> bool {
        match self.store.stat(path).await {
            Ok(now) => !Version::of(&now).is(version),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    async fn take_in(
        &self,
        mut body: Body,
        path: &str,
        wanted: Wanted<'_>,
    ) -> Result<Received, LayerError> {
        let beginning = beginning(&mut body, path).await?;
        match (Beginning::of(&beginning), wanted) {
            (Beginning::Manifest, _) => self.unpack(body, beginning, path, wanted).await,
            (Beginning::OtherZstd, Wanted::Spec(spec)) => match self.accept_unmanifested {
                Some(source) => {
                    unmanifested::take_in(self, body, beginning, path, spec, source).await
                }
                None => {
                    tracing::warn!(
                        path,
                        "an object without a manifest is passed over; `accept_unmanifested=true` in the remote's URI has it taken for what its name says"
                    );
                    Ok(Received::Other)
                }
            },
            (Beginning::OtherZstd, Wanted::Key(_)) => Ok(Received::Other),
            (Beginning::NotZstd, _) => Err(corrupt(path).with_source(ObjectError::NotZstd)),
        }
    }

    async fn unpack(
        &self,
        body: Body,
        beginning: Vec<u8>,
        path: &str,
        wanted: Wanted<'_>,
    ) -> Result<Received, LayerError> {
        let pool = Pool::default();
        let mut frames = Box::pin(frames(body, &beginning, path, &pool));
        let manifest = match frames.try_next().await? {
            Some(Frame::Manifest(json)) => match manifest(&json, path, wanted)? {
                Ok(manifest) => manifest,
                Err(other) => return Ok(other),
            },
            _ => return Err(corrupt(path).with_source(ObjectError::CutOff)),
        };
        let key = wanted.key();
        let phase = InPhase::begin(self.progress, &key, Phase::Download);
        let declared = *manifest.disk();
        let total = Some(declared.file_bytes);
        let file = self.staging.file(&key);
        let disk = Unpacked::create(file.path(), declared.file_bytes);
        let disk = disk.map_err(|error| error.of_object(path))?;

        let (parts, mut arriving) = mpsc::channel(1);
        let unpack = async {
            // Dropped at the end, which tells the writer that there is no more.
            let parts = parts;
            let mut done = 0;
            let contents = frames.map(|frame| contents(frame, path, &pool));
            let mut contents = std::pin::pin!(contents.buffered(self.workers));
            while let Some(part) = contents.try_next().await? {
                done += part.len() as u64;
                if parts.send(part).await.is_err() {
                    break;
                }
                self.moved(&key, done, total);
            }
            Ok(())
        };
        let (unpacked, disk) = tokio::join!(
            unpack,
            blocking(move || disk.write_all(iter::from_fn(|| arriving.blocking_recv())))
        );
        let disk = disk.map_err(|error| error.of_object(path))?;
        unpacked?;
        let base = wanted.base_image().cloned();
        let finished = blocking(move || disk.finish(Some(declared), base.as_ref())).await;
        let disk = finished.map_err(|error| error.of_object(path))?;
        let snapshot = Snapshot::new(file.path().to_owned(), manifest.with_disk(disk));
        phase.done();
        Ok(Received::Snapshot(snapshot.held_by(file)))
    }

    pub(crate) fn moved(&self, key: &CacheKey, done: u64, total: Option<u64>) {
        let event = ProgressEvent::Bytes {
            phase: Phase::Download,
            done,
            total,
        };
        self.progress.report(key.into(), event);
    }
}

impl Wanted<'_> {
    fn key(&self) -> CacheKey {
        match self {
            Self::Spec(spec) => spec.key(),
            Self::Key(key) => CacheKey::clone(key),
        }
    }

    fn base_image(&self) -> Option<&BaseImage> {
        match self {
            Self::Spec(spec) => Some(spec.base_image()),
            Self::Key(_) => None,
        }
    }
}

/// The first bytes, enough of them to tell what it is.
pub(crate) async fn beginning(body: &mut Body, path: &str) -> Result<Vec<u8>, LayerError> {
    let mut bytes = Vec::new();
    while bytes.len() < Beginning::BYTES {
        match next(body, path).await? {
            Some(more) => bytes.extend(more.to_bytes()),
            None => break,
        }
    }
    Ok(bytes)
}

pub(crate) async fn next(body: &mut Body, path: &str) -> Result<Option<Buffer>, LayerError> {
    let next = body.next().await;
    next.map_err(|error| layer_error(format!("download {path}"), error))
}

/// The frames of an object.
fn frames(
    body: Body,
    beginning: &[u8],
    path: &str,
    pool: &Pool,
) -> impl Stream<Item = Result<Frame, LayerError>> {
    let mut splitter = Splitter::new(pool);
    splitter.push(beginning);
    stream::try_unfold(
        (body, splitter),
        move |(mut body, mut splitter)| async move {
            let unsound = |error: ObjectError| corrupt(path).with_source(error);
            loop {
                if let Some(frame) = splitter.next().map_err(unsound)? {
                    return Ok(Some((frame, (body, splitter))));
                }
                match next(&mut body, path).await? {
                    Some(bytes) => Iterator::for_each(bytes, |bytes| splitter.push(&bytes)),
                    None => return splitter.finish().map(|()| None).map_err(unsound),
                }
            }
        },
    )
}

/// The manifest that the object begins with, if it is that of what is wanted.
pub(crate) fn manifest(
    json: &[u8],
    path: &str,
    wanted: Wanted<'_>,
) -> Result<Result<Manifest, Received>, LayerError> {
    match Manifest::from_json(json) {
        Ok(manifest) if wanted.is(&manifest) => Ok(Ok(manifest)),
        Ok(_) => {
            tracing::warn!(
                path,
                "an object with the manifest of another request is passed over"
            );
            Ok(Err(Received::Other))
        }
        Err(error @ ManifestError::Newer { .. }) => {
            tracing::warn!(path, %error, "an object is passed over");
            Ok(Err(Received::Newer))
        }
        Err(error) => Err(corrupt(path).with_source(error)),
    }
}

impl Wanted<'_> {
    fn is(&self, manifest: &Manifest) -> bool {
        match self {
            Self::Spec(spec) => *manifest.spec() == spec.canonical(),
            Self::Key(key) => manifest.key() == *key,
        }
    }
}

/// What a frame adds to the file, unpacked on a worker thread.
async fn contents(
    frame: Result<Frame, LayerError>,
    path: &str,
    pool: &Pool,
) -> Result<Pooled, LayerError> {
    match frame? {
        Frame::Manifest(_) | Frame::Skipped => Ok(pool.take(0)),
        Frame::Data {
            compressed,
            raw_bytes,
        } => {
            let pool = pool.clone();
            let unpacked = blocking(move || unpack(&compressed, raw_bytes, &pool)).await;
            unpacked.map_err(|error| corrupt(path).with_source(error))
        }
    }
}
