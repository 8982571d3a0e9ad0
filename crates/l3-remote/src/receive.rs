//! A snapshot from the store: fetched in ranges, unpacked on worker threads, written by one, held against
//! its manifest.

use cache_key::SnapshotSpec;
use cache_layer::{
    InPhase, LayerError, LayerErrorKind, Manifest, ManifestError, Phase, ProgressEvent,
    ProgressSink, Snapshot, Staging, blocking,
};
use futures::{Stream, StreamExt, TryStream, TryStreamExt, stream};
use opendal::{ErrorKind, Operator};

use crate::fault::layer_error;
use crate::object::{Frame, ObjectError, Splitter, unpack};
use crate::unpacked::{Unpacked, UnpackedError};

/// A ranged read, and how many are under way at once.
const RANGE_BYTES: usize = 8 << 20;
const RANGES_AT_ONCE: usize = 4;

/// Fetches the object `path` into `staging`, if it is there and is the snapshot of `spec`.
pub(crate) async fn receive(
    operator: &Operator,
    path: &str,
    spec: &SnapshotSpec,
    staging: &Staging,
    workers: usize,
    progress: &dyn ProgressSink,
) -> Result<Option<Snapshot>, LayerError> {
    let failed = |error| layer_error(format!("download {path}"), error);
    let bytes = match operator.stat(path).await {
        Ok(object) => object.content_length(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let reader = operator
        .reader_with(path)
        .chunk(RANGE_BYTES)
        .concurrent(RANGES_AT_ONCE)
        .await;
    let body = reader
        .map_err(failed)?
        .into_bytes_stream(0..bytes)
        .await
        .map_err(failed)?;
    let body = body.map_err(|error| LayerError::from_io(format!("download {path}"), error));
    let mut frames = std::pin::pin!(frames(body, path));
    let Some(manifest) = wanted_manifest(frames.try_next().await?, path, spec)? else {
        return Ok(None);
    };

    let key = spec.key();
    let _phase = InPhase::begin(progress, &key, Phase::Download);
    let file = staging.file(&key);
    let unsound = |error: UnpackedError| error.of_object(path);
    let mut disk = Unpacked::create(file.path(), *manifest.disk()).map_err(unsound)?;
    let total = Some(manifest.disk().file_bytes);
    let mut parts = std::pin::pin!(frames.map(|frame| contents(frame, path)).buffered(workers));
    while let Some(part) = parts.try_next().await? {
        let written = blocking(move || disk.write(&part).map(|()| disk)).await;
        disk = written.map_err(unsound)?;
        let event = ProgressEvent::Bytes {
            phase: Phase::Download,
            done: disk.written(),
            total,
        };
        progress.report((&key).into(), event);
    }
    let base = spec.base_image().clone();
    let finished = blocking(move || disk.finish(&base)).await;
    let manifest = manifest.with_disk(finished.map_err(unsound)?);
    Ok(Some(
        Snapshot::new(file.path().to_owned(), manifest).held_by(file),
    ))
}

/// The frames of an object.
fn frames<B>(body: B, path: &str) -> impl Stream<Item = Result<Frame, LayerError>>
where
    B: TryStream<Error = LayerError> + Unpin,
    B::Ok: AsRef<[u8]>,
{
    stream::try_unfold(
        (body, Splitter::default()),
        move |(mut body, mut splitter)| async move {
            let unsound = |error: ObjectError| corrupt(path).with_source(error);
            loop {
                if let Some(frame) = splitter.next().map_err(unsound)? {
                    return Ok(Some((frame, (body, splitter))));
                }
                match body.try_next().await? {
                    Some(bytes) => splitter.push(bytes.as_ref()),
                    None => return splitter.finish().map(|()| None).map_err(unsound),
                }
            }
        },
    )
}

/// The manifest that the object begins with, if it is that of `spec`.
fn wanted_manifest(
    first: Option<Frame>,
    path: &str,
    spec: &SnapshotSpec,
) -> Result<Option<Manifest>, LayerError> {
    let Some(Frame::Manifest(json)) = first else {
        tracing::warn!(path, "an object without a manifest is passed over");
        return Ok(None);
    };
    match Manifest::from_json(&json) {
        Ok(manifest) if *manifest.spec() == spec.canonical() => Ok(Some(manifest)),
        Ok(_) => {
            tracing::warn!(
                path,
                "an object with the manifest of another request is passed over"
            );
            Ok(None)
        }
        Err(error @ ManifestError::Newer { .. }) => {
            tracing::warn!(path, %error, "an object is passed over");
            Ok(None)
        }
        Err(error) => Err(corrupt(path).with_source(error)),
    }
}

/// What a frame adds to the file, unpacked on a worker thread.
async fn contents(frame: Result<Frame, LayerError>, path: &str) -> Result<Vec<u8>, LayerError> {
    match frame? {
        Frame::Manifest(_) | Frame::Skipped => Ok(Vec::new()),
        Frame::Data {
            compressed,
            raw_bytes,
        } => {
            let unpacked = blocking(move || unpack(&compressed, raw_bytes)).await;
            unpacked.map_err(|error| corrupt(path).with_source(error))
        }
    }
}

pub(crate) fn corrupt(path: &str) -> LayerError {
    LayerError::new(
        LayerErrorKind::Corrupt,
        format!("take in {path}: it is damaged"),
    )
}
