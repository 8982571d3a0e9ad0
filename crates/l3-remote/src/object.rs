//! The object's layout, byte by byte.
//!
//! All numbers are little-endian. An object is a sequence of zstd frames (RFC 8878):
//!
//! 1. **A skippable frame with the manifest.** 4 bytes `0x184D2A53`; 4 bytes, the length of what follows in
//!    this frame; 8 bytes `snaptier` in ASCII; the manifest as JSON, at most 4 MiB.
//! 2. **The qcow2 file in independent frames**, each of [`RAW_FRAME_BYTES`] of it but the last, with the
//!    content's size in the header and a checksum at the end. A reader takes frames of up to
//!    [`LARGEST_RAW_FRAME`]. Their contents, one after another, are the file, and nothing more.
//! 3. **The seek table of the zstd seekable format** (zstd, `contrib/seekable_format`): a skippable frame,
//!    4 bytes `0x184D2A5E`; 4 bytes, its length; for each frame before it, that of the manifest
//!    included, 4 bytes of compressed and 4 bytes of raw size; 4 bytes, the number of frames, at most
//!    [`MOST_FRAMES`]; 1 byte 0, no checksums in the table; 4 bytes `0x8F92EAB1`. Nothing follows it.
//!
//! `zstd -d` skips 1 and 3. A reader that goes from the first byte to the last needs no seek table, but holds
//! it against the frames that it has met: whoever seeks by it must find what it says.

mod frame;
mod seek_table;
mod splitter;

#[cfg(test)]
pub(crate) use frame::data_frame;
pub(crate) use frame::{Compressor, manifest_frame, unpack};
pub(crate) use seek_table::SeekTable;
pub(crate) use splitter::{Beginning, Frame, Splitter};

/// How much of the file goes into one frame: large enough that cutting it up costs 0.2 % of its size,
/// small enough that a few workers have their hands full with a small snapshot.
pub const RAW_FRAME_BYTES: usize = 4 << 20;
/// The zstd level. Level 3 takes half as long again and makes objects 3 % smaller; level 1 saves little more time, and
/// makes them 5 % larger.
pub const LEVEL: i32 = 2;
/// The largest raw size of a frame that is read.
pub const LARGEST_RAW_FRAME: u64 = 8 << 20;
/// The most frames that an object has: some 2 TiB of a file.
pub const MOST_FRAMES: usize = (4 << 20) / 8;

/// A compressed frame is never much larger than its contents; one that is longer than this is none.
const LARGEST_FRAME: usize = LARGEST_RAW_FRAME as usize + (1 << 20);
/// What stands in front of a manifest.
const TAG: &[u8; 8] = b"snaptier";

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ObjectError {
    #[error("it is not a zstd file")]
    NotZstd,
    #[error("a frame is longer than {LARGEST_FRAME} bytes")]
    LongFrame,
    #[error("a frame does not say its raw size, or one above {LARGEST_RAW_FRAME}")]
    RawSize,
    #[error("it has more than {MOST_FRAMES} frames")]
    ManyFrames,
    #[error("its seek table is not that of its frames")]
    SeekTable,
    #[error("something follows its seek table")]
    PastTheEnd,
    #[error("it ends in the midst of a frame, or before its seek table")]
    CutOff,
}
