use std::io;

use cache_layer::Manifest;

use super::{LEVEL, TAG};
use crate::pool::{Pool, Pooled};

pub(super) const MANIFEST_MAGIC: u32 = 0x184D_2A53;
/// A skippable frame's magic number and length.
pub(super) const SKIPPABLE_HEAD: usize = 8;

/// The frame that an object begins with.
pub(crate) fn manifest_frame(manifest: &Manifest) -> Vec<u8> {
    skippable(
        MANIFEST_MAGIC,
        &[TAG.as_slice(), &manifest.to_json()].concat(),
    )
}

/// Makes frames of the file, one after another.
pub(crate) struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    pub(crate) fn new() -> io::Result<Self> {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        zstd.include_checksum(true)?;
        zstd.include_contentsize(true)?;
        Ok(Self(zstd))
    }

    /// One frame of the file.
    pub(crate) fn frame(&mut self, raw: &[u8], pool: &Pool) -> io::Result<Pooled> {
        let mut frame = pool.take(zstd::zstd_safe::compress_bound(raw.len()));
        self.0.compress_to_buffer(raw, &mut *frame)?;
        Ok(frame)
    }
}

#[cfg(test)]
pub(crate) fn data_frame(raw: &[u8]) -> io::Result<Vec<u8>> {
    let frame = Compressor::new()?.frame(raw, &Pool::default());
    frame.map(|frame| frame.to_vec())
}

/// The contents of a frame of the file.
pub(crate) fn unpack(frame: &[u8], raw_bytes: usize, pool: &Pool) -> io::Result<Pooled> {
    let mut raw = pool.take(raw_bytes);
    zstd::bulk::Decompressor::new()?.decompress_to_buffer(frame, &mut *raw)?;
    // A frame that holds other than it says is no frame.
    match raw.len() == raw_bytes {
        true => Ok(raw),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

pub(super) fn skippable(magic: u32, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    [&magic.to_le_bytes(), &length.to_le_bytes(), content].concat()
}
