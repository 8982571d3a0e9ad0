use super::frame::skippable;
use super::{MOST_FRAMES, ObjectError};

pub(super) const SEEK_TABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;

/// The seek table, filled as frames go by.
#[derive(Debug, Default)]
pub(crate) struct SeekTable(Vec<u8>);

impl SeekTable {
    pub(crate) fn add(&mut self, compressed: usize, raw: usize) -> Result<(), ObjectError> {
        if self.0.len() / 8 == MOST_FRAMES {
            return Err(ObjectError::ManyFrames);
        }
        // Frames are a few MiB.
        self.0.extend((compressed as u32).to_le_bytes());
        self.0.extend((raw as u32).to_le_bytes());
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seek_table_is_as_its_format_says() {
        let mut table = SeekTable::default();
        table.add(0x0102, 0).unwrap();
        table.add(3, 4).unwrap();
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

    #[test]
    fn a_table_that_a_reader_would_not_take_is_not_made() {
        let mut table = SeekTable(vec![0; 8 * (MOST_FRAMES - 1)]);
        table.add(1, 1).unwrap();
        assert_eq!(table.add(1, 1), Err(ObjectError::ManyFrames));
    }
}
