use cache_layer::MAX_MANIFEST_BYTES;

use super::frame::{MANIFEST_MAGIC, SKIPPABLE_HEAD};
use super::seek_table::SEEK_TABLE_MAGIC;
use super::{LARGEST_FRAME, LARGEST_RAW_FRAME, ObjectError, RAW_FRAME_BYTES, SeekTable, TAG};
use crate::pool::{Pool, Pooled};

const SKIPPABLE_MAGICS: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;
/// What a seek table has besides its entries.
const SEEK_TABLE_FOOTER: usize = 9;

/// One frame of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The manifest's JSON.
    Manifest(Vec<u8>),
    /// A part of the file, still compressed, and its raw size.
    Data {
        compressed: Pooled,
        raw_bytes: usize,
    },
    /// Something that a reader skips.
    Skipped,
}

/// What an object's first bytes say that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// An object of this layout.
    Manifest,
    /// A zstd file of somebody else's.
    OtherZstd,
    /// Something else.
    NotZstd,
}

impl Beginning {
    /// How many bytes tell.
    pub(crate) const BYTES: usize = SKIPPABLE_HEAD + TAG.len();

    /// Of what begins with `bytes`, fewer than [`BYTES`](Self::BYTES) only if there are no more.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let magic = magic(bytes);
        let tag = bytes.get(SKIPPABLE_HEAD..).unwrap_or_default();
        match magic {
            Some(MANIFEST_MAGIC) if tag.starts_with(TAG) => Self::Manifest,
            Some(zstd::zstd_safe::MAGICNUMBER) => Self::OtherZstd,
            Some(magic) if SKIPPABLE_MAGICS.contains(&magic) => Self::OtherZstd,
            _ => Self::NotZstd,
        }
    }
}

/// Cuts a stream of bytes into frames. Holds one frame at most.
pub(crate) struct Splitter {
    pending: Pooled,
    pool: Pool,
    /// The seek table that the frames so far make; gone once it has been met.
    table: Option<SeekTable>,
}

impl Splitter {
    /// A splitter that makes frames of the memory of `pool`.
    pub(crate) fn new(pool: &Pool) -> Self {
        Self {
            pending: pool.take(RAW_FRAME_BYTES),
            pool: pool.clone(),
            table: Some(SeekTable::default()),
        }
    }

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
        let mut rest = self.pool.take(RAW_FRAME_BYTES);
        rest.extend_from_slice(&self.pending[length..]);
        self.pending.truncate(length);
        let frame = std::mem::replace(&mut self.pending, rest);
        self.take(frame).map(Some)
    }

    /// Whether the stream ended where an object does.
    pub(crate) fn finish(&self) -> Result<(), ObjectError> {
        match self.table.is_none() && self.pending.is_empty() {
            true => Ok(()),
            false => Err(ObjectError::CutOff),
        }
    }

    fn take(&mut self, frame: Pooled) -> Result<Frame, ObjectError> {
        let Some(table) = &mut self.table else {
            return Err(ObjectError::PastTheEnd);
        };
        let length = frame.len();
        match magic(&frame) {
            Some(SEEK_TABLE_MAGIC) => {
                let made = self.table.take().map(SeekTable::into_frame);
                match made.as_ref() == Some(&*frame) {
                    true => Ok(Frame::Skipped),
                    false => Err(ObjectError::SeekTable),
                }
            }
            Some(magic) if SKIPPABLE_MAGICS.contains(&magic) => {
                table.add(length, 0)?;
                let content = &frame[SKIPPABLE_HEAD..];
                Ok(match content.strip_prefix(TAG) {
                    Some(json) if magic == MANIFEST_MAGIC => Frame::Manifest(json.to_vec()),
                    _ => Frame::Skipped,
                })
            }
            _ => {
                let raw_bytes = raw_bytes(&frame)?;
                table.add(length, raw_bytes)?;
                Ok(Frame::Data {
                    compressed: frame,
                    raw_bytes,
                })
            }
        }
    }

    /// The length of the first frame, if that much is there.
    fn frame_length(&self) -> Result<Option<usize>, ObjectError> {
        let Some(magic) = magic(&self.pending) else {
            return Ok(None);
        };
        if SKIPPABLE_MAGICS.contains(&magic) {
            let Some(head) = self.pending.first_chunk::<SKIPPABLE_HEAD>() else {
                return Ok(None);
            };
            let [.., a, b, c, d] = *head;
            let length = SKIPPABLE_HEAD + u32::from_le_bytes([a, b, c, d]) as usize;
            let longest = SKIPPABLE_HEAD + MAX_MANIFEST_BYTES as usize;
            return match length {
                _ if length > longest + TAG.len().max(SEEK_TABLE_FOOTER) => {
                    Err(ObjectError::LongFrame)
                }
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

fn magic(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|magic| u32::from_le_bytes(*magic))
}

fn raw_bytes(frame: &[u8]) -> Result<usize, ObjectError> {
    let raw = zstd::zstd_safe::get_frame_content_size(frame)
        .ok()
        .flatten();
    match raw.filter(|&raw| raw <= LARGEST_RAW_FRAME) {
        Some(raw) => Ok(raw as usize),
        None => Err(ObjectError::RawSize),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{data_frame, frame::skippable};
    use super::*;

    fn split(object: &[u8], piece: usize) -> Result<Vec<Frame>, ObjectError> {
        let mut splitter = Splitter::new(&Pool::default());
        let mut frames = Vec::new();
        for bytes in object.chunks(piece) {
            splitter.push(bytes);
            while let Some(frame) = splitter.next()? {
                frames.push(frame);
            }
        }
        splitter.finish().map(|()| frames)
    }

    /// The frames of an object and their seek table.
    fn parts() -> (Vec<u8>, Vec<u8>) {
        let raw: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let frames = [
            (skippable(MANIFEST_MAGIC, b"snaptier{}"), 0),
            (data_frame(&raw).unwrap(), raw.len()),
            (data_frame(b"").unwrap(), 0),
        ];
        let mut table = SeekTable::default();
        for (frame, raw) in &frames {
            table.add(frame.len(), *raw).unwrap();
        }
        let frames: Vec<u8> = frames.into_iter().flat_map(|(frame, _)| frame).collect();
        (frames, table.into_frame())
    }

    fn object() -> Vec<u8> {
        let (frames, table) = parts();
        [frames, table].concat()
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut_up() {
        let whole = split(&object(), usize::MAX).unwrap();
        let [
            Frame::Manifest(json),
            Frame::Data {
                raw_bytes: 400_000, ..
            },
            Frame::Data { raw_bytes: 0, .. },
            Frame::Skipped,
        ] = &whole[..]
        else {
            panic!("{whole:?}")
        };
        assert_eq!(json, b"{}");
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
    fn a_seek_table_that_lies_is_missing_or_is_not_the_end_makes_no_object() {
        let (frames, table) = parts();
        assert_eq!(split(&frames, 4096), Err(ObjectError::CutOff));
        for at in 8..table.len() {
            let mut lying = table.clone();
            lying[at] ^= 1;
            let object = [frames.clone(), lying].concat();
            assert_eq!(split(&object, 4096), Err(ObjectError::SeekTable), "{at}");
        }
        for more in [&frames, &table] {
            let object = [&frames[..], &table, more].concat();
            assert_eq!(split(&object, 4096), Err(ObjectError::PastTheEnd));
        }
        assert_eq!(split(b"", 1), Err(ObjectError::CutOff));
    }

    #[test]
    fn the_first_bytes_tell_whose_zstd_file_it_is() {
        assert_eq!(
            Beginning::of(&object()[..Beginning::BYTES]),
            Beginning::Manifest
        );
        assert_eq!(
            Beginning::of(&data_frame(b"x").unwrap()),
            Beginning::OtherZstd
        );
        let foreign = skippable(MANIFEST_MAGIC, b"pzstd");
        assert_eq!(Beginning::of(&foreign), Beginning::OtherZstd);
        for other in [&b"QFI\xfb"[..], b"", b"\x28\xb5"] {
            assert_eq!(Beginning::of(other), Beginning::NotZstd);
        }
    }
}
