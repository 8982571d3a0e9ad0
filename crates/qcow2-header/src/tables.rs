//! The structure below the header: every table and cluster that it leads to lies in the file, and no table
//! lies in another one or among the data.

use std::collections::HashSet;
use std::io::{Read, Seek};
use std::ops::Range;

use crate::header::read_range;
use crate::{Features, Qcow2Error, Qcow2Header};

/// The bits of an L1, L2 or refcount-table entry that are an offset in the file, and those that are nothing yet.
const L1_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;
const L2_OFFSET: u64 = L1_OFFSET;
const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;
const REFCOUNT_OFFSET: u64 = !REFCOUNT_RESERVED;
const REFCOUNT_RESERVED: u64 = 0x1ff;
/// The cluster is compressed, and the rest of the entry is laid out otherwise.
const COMPRESSED: u64 = 1 << 62;
/// Nothing else refers to the cluster, so that it can be written to in place.
const COPIED: u64 = 1 << 63;
/// The cluster reads as zeros, wherever it is. In an extended entry the bitmap says that.
const ZERO: u64 = 1 << 0;
/// A table is read in pieces of this many bytes.
const PIECE: u64 = 1 << 20;

impl Qcow2Header {
    /// Walks the refcount table, the L1 table and every L2 table, and holds each entry in them against
    /// the file's length, the format, and what else lies there. Reads only tables: some 8 bytes for each
    /// cluster of the guest's data.
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
        let mut tables = TableClusters::of(self);
        words(reader, self.refcounts.bytes(), |index, entry| {
            let what = || format!("the refcount block of entry {index}");
            require_unreserved(entry, REFCOUNT_RESERVED, what)?;
            if let Some(offset) = self.cluster(entry & REFCOUNT_OFFSET, what)? {
                tables.require_free(offset, what)?;
                tables.refcount_blocks.insert(offset);
            }
            Ok(())
        })?;
        let mut l2_tables = Vec::new();
        words(reader, self.l1.bytes(), |index, entry| {
            let what = || format!("the L2 table of L1 entry {index}");
            require_unreserved(entry, L1_RESERVED, what)?;
            if let Some(offset) = self.cluster(entry & L1_OFFSET, what)? {
                // With no internal snapshots, nothing shares a table. A file that does would also have us
                // read it again and again.
                tables.require_free(offset, what)?;
                tables.l2_tables.insert(offset);
                l2_tables.push(offset);
            }
            Ok(())
        })?;
        l2_tables
            .into_iter()
            .try_for_each(|offset| self.check_l2(reader, offset, &tables))
    }

    fn check_l2(
        &self,
        reader: &mut (impl Read + Seek),
        table: u64,
        tables: &TableClusters<'_>,
    ) -> Result<(), Qcow2Error> {
        let is_extended = self.has(Features::EXTENDED_L2);
        // The last table of a file may end past it; what is not there reads as zeros.
        let there = table..table + self.cluster_bytes().min(self.file_bytes - table);
        let mut extended = 0;
        words(reader, there, |index, word| {
            if !is_extended {
                return L2Entry::standard(word).check(self, tables, || cluster_of(index, table));
            }
            // An extended entry is two words: the standard entry and a bitmap of subclusters.
            if index % 2 == 0 {
                extended = word;
                return Ok(());
            }
            let entry = L2Entry {
                word: extended,
                subclusters: Some(word),
            };
            entry.check(self, tables, || cluster_of(index / 2, table))
        })
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
}

fn cluster_of(index: u64, table: u64) -> String {
    format!("cluster {index} of the L2 table at {table:#x}")
}

/// What an L2 table says of one of the guest's clusters.
struct L2Entry {
    word: u64,
    /// Which parts of the cluster are in the file (the low half) and which read as zeros (the high half).
    subclusters: Option<u64>,
}

impl L2Entry {
    fn standard(word: u64) -> Self {
        Self {
            word,
            subclusters: None,
        }
    }

    fn check(
        &self,
        header: &Qcow2Header,
        tables: &TableClusters<'_>,
        what: impl Fn() -> String + Copy,
    ) -> Result<(), Qcow2Error> {
        if self.word & COMPRESSED != 0 {
            return self.check_compressed(header, tables, what);
        }
        require_unreserved(self.word, L2_RESERVED, what)?;
        let offset = header.cluster(self.word & L2_OFFSET, what)?;
        if let Some(offset) = offset {
            tables.require_free(offset, what)?;
        }
        let fault = match self.subclusters {
            None if self.word & ZERO != 0 && header.version < 3 => {
                "is a zero cluster, which version 2 does not have"
            }
            Some(_) if self.word & ZERO != 0 => {
                "is a zero cluster, which is for its subclusters to say"
            }
            Some(parts) if parts >> 32 & parts != 0 => {
                "has a subcluster that is both data and zeros"
            }
            Some(parts) if offset.is_none() && parts as u32 != 0 => {
                "has subclusters with data, and is nowhere"
            }
            _ => return Ok(()),
        };
        Err(Qcow2Error::malformed(format!("{} {fault}", what())))
    }

    /// A compressed cluster: the low bits are the offset, the bits above it count 512-byte sectors.
    fn check_compressed(
        &self,
        header: &Qcow2Header,
        tables: &TableClusters<'_>,
        what: impl Fn() -> String + Copy,
    ) -> Result<(), Qcow2Error> {
        let offset_bits = 62 - (header.cluster_bits - 8);
        let start = self.word & ((1 << offset_bits) - 1);
        let sectors = (self.word & (COMPRESSED - 1)) >> offset_bits;
        // The last sector may be cut short by the end of the file, and no sector before it.
        let last_sector = (start & !511) + sectors * 512;
        if start >= header.file_bytes || last_sector >= header.file_bytes.next_multiple_of(512) {
            return Err(Qcow2Error::malformed(format!(
                "{} is compressed at {start:#x} (up to the sector at {last_sector:#x}), past the end of the file at {:#x}",
                what(),
                header.file_bytes
            )));
        }
        if self.word & COPIED != 0 || self.subclusters.is_some_and(|parts| parts != 0) {
            return Err(Qcow2Error::malformed(format!(
                "{} is compressed, and marked as something to write to in place or in parts",
                what()
            )));
        }
        // It is no longer than a cluster, and so it lies in two at the most.
        let cluster = |at: u64| at & !(header.cluster_bytes() - 1);
        tables.require_free(cluster(start), what)?;
        tables.require_free(cluster(last_sector), what)
    }
}

/// The clusters that hold the header and the tables, and so nothing else.
struct TableClusters<'a> {
    header: &'a Qcow2Header,
    refcount_blocks: HashSet<u64>,
    l2_tables: HashSet<u64>,
}

impl<'a> TableClusters<'a> {
    /// Those that the header knows of.
    fn of(header: &'a Qcow2Header) -> Self {
        Self {
            header,
            refcount_blocks: HashSet::new(),
            l2_tables: HashSet::new(),
        }
    }

    /// Refuses to have something else in the cluster at `offset` when a table is in it.
    fn require_free(&self, offset: u64, what: impl Fn() -> String) -> Result<(), Qcow2Error> {
        let end = offset + self.header.cluster_bytes();
        let is_part_of = |table: Range<u64>| offset < table.end && table.start < end;
        let owner = if offset == 0 {
            "the header"
        } else if is_part_of(self.header.refcounts.bytes()) {
            "the refcount table"
        } else if is_part_of(self.header.l1.bytes()) {
            "the L1 table"
        } else if self.refcount_blocks.contains(&offset) {
            "one of the refcount blocks"
        } else if self.l2_tables.contains(&offset) {
            "one of the L2 tables"
        } else {
            return Ok(());
        };
        Err(Qcow2Error::malformed(format!(
            "{} at {offset:#x} overlaps {owner}",
            what()
        )))
    }
}

fn require_unreserved(
    entry: u64,
    reserved: u64,
    what: impl Fn() -> String,
) -> Result<(), Qcow2Error> {
    match entry & reserved {
        0 => Ok(()),
        bits => Err(Qcow2Error::malformed(format!(
            "{} has reserved bits set, {bits:#x}",
            what()
        ))),
    }
}

/// Gives `each` the 8-byte words of `range` with their numbers. A last one that the range cuts short, or
/// that makes no pair, is filled up with zeros.
fn words(
    reader: &mut (impl Read + Seek),
    range: Range<u64>,
    mut each: impl FnMut(u64, u64) -> Result<(), Qcow2Error>,
) -> Result<(), Qcow2Error> {
    let mut index = 0;
    let mut offset = range.start;
    while offset < range.end {
        let mut piece = read_range(reader, offset..range.end.min(offset + PIECE))?;
        offset += piece.len() as u64;
        piece.resize(piece.len().next_multiple_of(16), 0);
        for word in piece.as_chunks::<8>().0 {
            each(index, u64::from_be_bytes(*word))?;
            index += 1;
        }
    }
    Ok(())
}
