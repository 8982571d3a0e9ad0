//! A snapshot to the store: read, compressed on worker threads, written as it comes. Nothing is kept on disk,
//! and no more than a few frames and parts in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cache_layer::{
    LayerError, LayerErrorKind, Phase, ProgressEvent, ProgressSink, Snapshot, blocking,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::object::{Compressor, ObjectError, RAW_FRAME_BYTES, SeekTable, manifest_frame};
use crate::parts::Parts;
use crate::pool::{Pool, Pooled};

/// Hands the object of `snapshot` to `parts`, up to its end or until nobody takes it any more.
pub(crate) async fn send(
    parts: &mut Parts,
    snapshot: &Snapshot,
    workers: usize,
    progress: &dyn ProgressSink,
) -> Result<(), LayerError> {
    let read_error =
        |error| LayerError::from_io(format!("read {}", snapshot.path().display()), error);
    let too_large = |error: ObjectError| {
        let context = format!("upload {}: it is too large", snapshot.key());
        LayerError::new(LayerErrorKind::Invalid, context).with_source(error)
    };
    let total = snapshot.manifest().disk().file_bytes;
    let file = File::open(snapshot.path()).map_err(read_error)?;
    let press = Arc::new(Press {
        file,
        pool: Pool::default(),
        idle: Mutex::default(),
    });

    let mut table = SeekTable::default();
    let head = manifest_frame(snapshot.manifest());
    table.add(head.len(), 0).map_err(too_large)?;
    if !parts.write(head.into()).await {
        return Ok(());
    }

    let offsets = (0..total).step_by(RAW_FRAME_BYTES);
    let frames = stream::iter(offsets)
        .map(|offset| {
            let press = press.clone();
            let length = RAW_FRAME_BYTES.min((total - offset) as usize);
            async move {
                let frame = blocking(move || press.frame(offset, length)).await;
                frame.map(|frame| (frame, length))
            }
        })
        .buffered(workers);
    let mut frames = std::pin::pin!(frames);
    let mut done = 0;
    while let Some((frame, length)) = frames.try_next().await.map_err(read_error)? {
        table.add(frame.len(), length).map_err(too_large)?;
        if !parts.write(Bytes::from_owner(frame)).await {
            return Ok(());
        }
        done += length as u64;
        let event = ProgressEvent::Bytes {
            phase: Phase::Upload,
            done,
            total: Some(total),
        };
        progress.report(snapshot.key().into(), event);
    }
    parts.write(table.into_frame().into()).await;
    Ok(())
}

/// Makes frames of a file, with no more memory than those that are made at the same time.
struct Press {
    file: File,
    pool: Pool,
    idle: Mutex<Vec<Compressor>>,
}

impl Press {
    fn frame(&self, offset: u64, length: usize) -> io::Result<Pooled> {
        let mut raw = self.pool.take(RAW_FRAME_BYTES);
        raw.resize(length, 0);
        self.file.read_exact_at(&mut raw, offset)?;
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let compressor = idle().pop();
        let mut compressor = match compressor {
            Some(compressor) => compressor,
            None => Compressor::new()?,
        };
        let frame = compressor.frame(&raw, &self.pool);
        idle().push(compressor);
        frame
    }
}
