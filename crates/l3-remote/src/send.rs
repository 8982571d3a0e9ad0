//! A snapshot to the store: read, compressed on worker threads, written as it comes. Nothing is kept on disk,
//! and no more than a few frames in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use cache_layer::{LayerError, Phase, ProgressEvent, ProgressSink, Snapshot, blocking};
use futures::{StreamExt, TryStreamExt, stream};
use opendal::{Operator, Writer};

use crate::fault::layer_error;
use crate::object::{RAW_FRAME_BYTES, SeekTable, data_frame, manifest_frame};

/// A part of a multipart upload, and how many are under way at once.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;

/// Writes `snapshot` as the object `path`. It is there when this returns, and not before.
pub(crate) async fn send(
    operator: &Operator,
    path: &str,
    snapshot: &Snapshot,
    workers: usize,
    progress: &dyn ProgressSink,
) -> Result<(), LayerError> {
    let failed = |error| layer_error(format!("upload {path}"), error);
    let writer = operator
        .writer_with(path)
        .chunk(PART_BYTES)
        .concurrent(PARTS_AT_ONCE);
    let mut writer = writer.await.map_err(failed)?;
    let sent = write(&mut writer, path, snapshot, workers, progress).await;
    match sent {
        Ok(()) => writer.close().await.map(drop).map_err(failed),
        Err(error) => {
            // Parts that nobody completes stay in the store, and are paid for.
            if let Err(error) = writer.abort().await {
                tracing::debug!(path, %error, "cannot abort an upload");
            }
            Err(error)
        }
    }
}

async fn write(
    writer: &mut Writer,
    path: &str,
    snapshot: &Snapshot,
    workers: usize,
    progress: &dyn ProgressSink,
) -> Result<(), LayerError> {
    let read_error =
        |error| LayerError::from_io(format!("read {}", snapshot.path().display()), error);
    let write_error = |error| layer_error(format!("upload {path}"), error);
    let total = snapshot.manifest().disk().file_bytes;
    let file = Arc::new(File::open(snapshot.path()).map_err(read_error)?);

    let mut table = SeekTable::default();
    let head = manifest_frame(snapshot.manifest());
    table.add(head.len(), 0);
    writer.write(head).await.map_err(write_error)?;

    let offsets = (0..total).step_by(RAW_FRAME_BYTES);
    let frames = stream::iter(offsets)
        .map(|offset| {
            let file = file.clone();
            let length = RAW_FRAME_BYTES.min((total - offset) as usize);
            async move {
                let frame = blocking(move || compress(&file, offset, length)).await;
                frame.map(|frame| (frame, length))
            }
        })
        .buffered(workers);
    let mut frames = std::pin::pin!(frames);
    let mut done = 0;
    while let Some((frame, length)) = frames.try_next().await.map_err(read_error)? {
        table.add(frame.len(), length);
        writer.write(frame).await.map_err(write_error)?;
        done += length as u64;
        let event = ProgressEvent::Bytes {
            phase: Phase::Upload,
            done,
            total: Some(total),
        };
        progress.report(snapshot.key().into(), event);
    }
    writer.write(table.into_frame()).await.map_err(write_error)
}

fn compress(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut raw = vec![0; length];
    file.read_exact_at(&mut raw, offset)?;
    data_frame(&raw)
}
