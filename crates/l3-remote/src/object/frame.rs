use std::io;

use cache_layer::Manifest;

use super::TAG;

pub(super) const MANIFEST_MAGIC: u32 = 0x184D_2A53;
/// A skippable frame's magic number and length.
pub(super) const SKIPPABLE_HEAD: usize = 8;

/// The zstd level. Level 3 is a third slower than level 1 and makes objects some 10 % smaller, which every
/// download gains from.
const LEVEL: i32 = 3;

/// The frame that an object begins with.
pub(crate) fn manifest_frame(manifest: &Manifest) -> Vec<u8> {
    skippable(
        MANIFEST_MAGIC,
        &[TAG.as_slice(), &manifest.to_json()].concat(),
    )
}

/// One frame of the file.
pub(crate) fn data_frame(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    compressor.compress(raw)
}

/// The contents of a frame of the file.
pub(crate) fn unpack(frame: &[u8], raw_bytes: usize) -> io::Result<Vec<u8>> {
    zstd::bulk::decompress(frame, raw_bytes)
}

pub(super) fn skippable(magic: u32, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    [&magic.to_le_bytes(), &length.to_le_bytes(), content].concat()
}
