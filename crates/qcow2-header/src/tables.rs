//! The structure below the header: every table and cluster that it leads to lies in the file.

use std::collections::HashSet;
use std::io::{Read, Seek};

use crate::header::read_range;
use crate::{Features, Qcow2Error, Qcow2Header, Table};

/// The bits of an L1, L2 or refcount-table entry that are an offset in the file.
const L1_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const L2_OFFSET: u64 = L1_OFFSET;
const REFCOUNT_OFFSET: u64 = !0x1ff;
/// The cluster is compressed, and the rest of the entry is laid out otherwise.
const COMPRESSED: u64 = 1 << 62;
/// A table is read in pieces of this many bytes.
const PIECE: u64 = 1 << 20;

impl Qcow2Header {
    /// Walks the refcount table, the L1 table and every L2 table, and holds each offset in them against
    /// the file's length. Reads only tables: some 8 bytes for each cluster of the guest's data.
    ///
    /// A cluster begins inside the file but may end past it, as QEMU too has it: a file ends where its last
    /// write did. Reference counts are not compared with what is referred to; that is `qemu-img check`'s part.
    ///
    /// # Errors
    ///
    /// [`Malformed`](Qcow2Error::Malformed) with the table, the entry and the offset;
    /// [`Io`](Qcow2Error::Io) when reading fails.
    pub fn check_tables(&self, mut reader: impl Read + Seek) -> Result<(), Qcow2Error> {
        let reader = &mut reader;
        self.entries(reader, self.refcounts, |index, entry| {
            self.cluster(entry & REFCOUNT_OFFSET, || {
                format!("the refcount block of entry {index}")
            })
            .map(drop)
        })?;
        let mut l2_tables = Vec::new();
        let mut seen = HashSet::new();
        self.entries(reader, self.l1, |index, entry| {
            let what = || format!("the L2 table of L1 entry {index}");
            if let Some(offset) = self.cluster(entry & L1_OFFSET, what)? {
                // With no internal snapshots, nothing shares a table. A file that does would also have us
                // read it again and again.
                if !seen.insert(offset) {
                    return Err(Qcow2Error::malformed(format!(
                        "{} at {offset:#x} is another entry's too",
                        what()
                    )));
                }
                l2_tables.push(offset);
            }
            Ok(())
        })?;
        l2_tables
            .into_iter()
            .try_for_each(|offset| self.check_l2(reader, offset))
    }

    fn check_l2(&self, reader: &mut (impl Read + Seek), offset: u64) -> Result<(), Qcow2Error> {
        // An extended entry is two words: the standard entry and a bitmap of subclusters.
        let words_per_entry = if self.has(Features::EXTENDED_L2) {
            2
        } else {
            1
        };
        // The last table of a file may end past it; what is not there reads as zeros.
        let there = self.cluster_bytes().min(self.file_bytes - offset) / 8;
        self.entries(
            reader,
            Table {
                offset,
                entries: there,
            },
            |index, entry| {
                if index % words_per_entry != 0 {
                    return Ok(());
                }
                let what = || {
                    format!(
                        "cluster {} of the L2 table at {offset:#x}",
                        index / words_per_entry
                    )
                };
                if entry & COMPRESSED != 0 {
                    return self.check_compressed(entry, what);
                }
                self.cluster(entry & L2_OFFSET, what).map(drop)
            },
        )
    }

    /// A compressed cluster: the low bits are the offset, the bits above it count 512-byte sectors.
    fn check_compressed(&self, entry: u64, what: impl Fn() -> String) -> Result<(), Qcow2Error> {
        let offset_bits = 62 - (self.cluster_bits - 8);
        let start = entry & ((1 << offset_bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
        // The last sector may be cut short by the end of the file, and no sector before it.
        let last_sector = (start & !511) + sectors * 512;
        if start == 0
            || start >= self.file_bytes
            || last_sector >= self.file_bytes.next_multiple_of(512)
        {
            return Err(Qcow2Error::malformed(format!(
                "{} is compressed at {start:#x} (up to the sector at {last_sector:#x}), past the end of the file at {:#x}",
                what(),
                self.file_bytes
            )));
        }
        Ok(())
    }

    /// The offset of a cluster that an entry refers to, if it refers to one.
    fn cluster(&self, offset: u64, what: impl Fn() -> String) -> Result<Option<u64>, Qcow2Error> {
        match offset {
            0 => Ok(None),
            _ if !offset.is_multiple_of(self.cluster_bytes()) => Err(Qcow2Error::malformed(
                format!("{} at {offset:#x} does not begin at a cluster", what()),
            )),
            _ if offset >= self.file_bytes => Err(Qcow2Error::malformed(format!(
                "{} at {offset:#x} lies past the end of the file at {:#x}",
                what(),
                self.file_bytes
            ))),
            _ => Ok(Some(offset)),
        }
    }

    fn entries(
        &self,
        reader: &mut (impl Read + Seek),
        table: Table,
        mut each: impl FnMut(u64, u64) -> Result<(), Qcow2Error>,
    ) -> Result<(), Qcow2Error> {
        let end = table.offset + table.entries * 8;
        let mut index = 0;
        let mut offset = table.offset;
        while offset < end {
            let piece = read_range(reader, offset..end.min(offset + PIECE))?;
            offset += piece.len() as u64;
            for word in piece.as_chunks::<8>().0 {
                match u64::from_be_bytes(*word) {
                    0 => {}
                    entry => each(index, entry)?,
                }
                index += 1;
            }
        }
        Ok(())
    }
}
