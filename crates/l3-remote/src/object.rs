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
//!    included, 4 bytes of compressed and 4 bytes of raw size; 4 bytes, the number of frames; 1 byte 0, no
//!    checksums in the table; 4 bytes `0x8F92EAB1`.
//!
//! `zstd -d` skips 1 and 3.

use std::io;

use cache_layer::{MAX_MANIFEST_BYTES, Manifest};

/// How much of the file goes into one frame: large enough that cutting it up costs 0.2 % of its size,
/// small enough that a few workers have their hands full with a small snapshot.
pub const RAW_FRAME_BYTES: usize = 4 << 20;
/// The largest raw size of a frame that is read.
pub const LARGEST_RAW_FRAME: u64 = 16 << 20;

const MANIFEST_MAGIC: u32 = 0x184D_2A53;
const SEEK_TABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const SKIPPABLE_MAGICS: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;
const TAG: &[u8; 8] = b"snaptier";
/// A skippable frame's magic number and length.
const SKIPPABLE_HEAD: usize = 8;
/// A compressed frame is never much larger than its contents; one that is longer than this is none.
const LARGEST_FRAME: usize = LARGEST_RAW_FRAME as usize + (1 << 20);

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

/// The seek table, filled as frames are written.
#[derive(Debug, Default)]
pub(crate) struct SeekTable(Vec<u8>);

impl SeekTable {
    pub(crate) fn add(&mut self, compressed: usize, raw: usize) {
        // Frames are a few MiB.
        self.0.extend((compressed as u32).to_le_bytes());
        self.0.extend((raw as u32).to_le_bytes());
    }

    /// The frame that an object ends with.
    pub(crate) fn into_frame(self) -> Vec<u8> {
        let Self(mut table) = self;
        let frames = (table.len() / 8) as u32;
        table.extend(frames.to_le_bytes());
        table.push(0);
        table.extend(SEEKABLE_MAGIC.to_le_bytes());
        skippable(SEEK_TABLE_MAGIC, &table)
    }
}

fn skippable(magic: u32, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    [&magic.to_le_bytes(), &length.to_le_bytes(), content].concat()
}

/// One frame of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The manifest's JSON.
    Manifest(Vec<u8>),
    /// A part of the file, still compressed, and its raw size.
    Data {
        compressed: Vec<u8>,
        raw_bytes: usize,
    },
    /// Something that a reader skips.
    Skipped,
}

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ObjectError {
    #[error("it is not a zstd file")]
    NotZstd,
    #[error("a frame is longer than {LARGEST_FRAME} bytes")]
    LongFrame,
    #[error("a frame does not say its raw size, or one above {LARGEST_RAW_FRAME}")]
    RawSize,
    #[error("it ends in the midst of a frame")]
    CutOff,
}

/// Cuts a stream of bytes into frames. Holds one frame at most.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    pending: Vec<u8>,
}

impl Splitter {
    /// The next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next frame, if it is there whole.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, ObjectError> {
        let Some(length) = self.frame_length()? else {
            return match self.pending.len() > LARGEST_FRAME {
                true => Err(ObjectError::LongFrame),
                false => Ok(None),
            };
        };
        let rest = self.pending.split_off(length);
        let frame = std::mem::replace(&mut self.pending, rest);
        read_frame(frame).map(Some)
    }

    /// Whether the stream ended where a frame did.
    pub(crate) fn finish(&self) -> Result<(), ObjectError> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(ObjectError::CutOff)
        }
    }

    /// The length of the first frame, if that much is there.
    fn frame_length(&self) -> Result<Option<usize>, ObjectError> {
        let Some(magic) = self.pending.first_chunk::<4>() else {
            return Ok(None);
        };
        let magic = u32::from_le_bytes(*magic);
        if SKIPPABLE_MAGICS.contains(&magic) {
            let Some(head) = self.pending.first_chunk::<SKIPPABLE_HEAD>() else {
                return Ok(None);
            };
            let [.., a, b, c, d] = *head;
            let length = SKIPPABLE_HEAD + u32::from_le_bytes([a, b, c, d]) as usize;
            let longest = SKIPPABLE_HEAD + TAG.len() + MAX_MANIFEST_BYTES as usize;
            return match length {
                _ if length > longest => Err(ObjectError::LongFrame),
                _ => Ok((self.pending.len() >= length).then_some(length)),
            };
        }
        if magic != zstd::zstd_safe::MAGICNUMBER {
            return Err(ObjectError::NotZstd);
        }
        // It fails alike for a frame that is not all there and for one that is damaged; the latter
        // comes to nothing at the limit, or at the end of the stream.
        Ok(zstd::zstd_safe::find_frame_compressed_size(&self.pending).ok())
    }
}

fn read_frame(frame: Vec<u8>) -> Result<Frame, ObjectError> {
    let magic = frame.first_chunk().map(|magic| u32::from_le_bytes(*magic));
    if magic.is_some_and(|magic| SKIPPABLE_MAGICS.contains(&magic)) {
        let content = &frame[SKIPPABLE_HEAD..];
        return Ok(match content.strip_prefix(TAG) {
            Some(json) if magic == Some(MANIFEST_MAGIC) => Frame::Manifest(json.to_vec()),
            _ => Frame::Skipped,
        });
    }
    let raw = zstd::zstd_safe::get_frame_content_size(&frame)
        .ok()
        .flatten();
    match raw.filter(|&raw| raw <= LARGEST_RAW_FRAME) {
        Some(raw) => Ok(Frame::Data {
            compressed: frame,
            raw_bytes: raw as usize,
        }),
        None => Err(ObjectError::RawSize),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn split(object: &[u8], piece: usize) -> Result<Vec<Frame>, ObjectError> {
        let mut splitter = Splitter::default();
        let mut frames = Vec::new();
        for bytes in object.chunks(piece) {
            splitter.push(bytes);
            while let Some(frame) = splitter.next()? {
                frames.push(frame);
            }
        }
        splitter.finish().map(|()| frames)
    }

    fn object() -> Vec<u8> {
        let mut table = SeekTable::default();
        table.add(1, 2);
        let raw: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        [
            data_frame(&raw).unwrap(),
            data_frame(b"").unwrap(),
            table.into_frame(),
        ]
        .concat()
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut_up() {
        let whole = split(&object(), usize::MAX).unwrap();
        assert!(matches!(
            whole[..],
            [
                Frame::Data {
                    raw_bytes: 400_000,
                    ..
                },
                Frame::Data { raw_bytes: 0, .. },
                Frame::Skipped
            ]
        ));
        for piece in [1, 7, 4096] {
            assert_eq!(split(&object(), piece).unwrap(), whole);
        }
    }

    #[test]
    fn what_is_no_object_is_told_apart() {
        assert_eq!(split(b"QFI\xfb....", 100), Err(ObjectError::NotZstd));
        let object = object();
        assert_eq!(
            split(&object[..object.len() - 1], 4096),
            Err(ObjectError::CutOff)
        );
        let long = [MANIFEST_MAGIC.to_le_bytes(), u32::MAX.to_le_bytes()].concat();
        assert_eq!(split(&long, 100), Err(ObjectError::LongFrame));
        let bomb = zstd::bulk::compress(&vec![0; LARGEST_RAW_FRAME as usize + 1], 1).unwrap();
        assert_eq!(split(&bomb, 4096), Err(ObjectError::RawSize));
        let mut streamed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        streamed
            .write_all(b"a size ")
            .and_then(|()| streamed.flush())
            .unwrap();
        streamed.write_all(b"that is not said").unwrap();
        assert_eq!(
            split(&streamed.finish().unwrap(), 4096),
            Err(ObjectError::RawSize)
        );
    }

    #[test]
    fn the_seek_table_is_as_its_format_says() {
        let mut table = SeekTable::default();
        table.add(0x0102, 0);
        table.add(3, 4);
        assert_eq!(
            table.into_frame(),
            [
                &[0x5e, 0x2a, 0x4d, 0x18, 25, 0, 0, 0][..],
                &[2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0],
                &[2, 0, 0, 0, 0, 0xb1, 0xea, 0x92, 0x8f],
            ]
            .concat()
        );
    }
}
