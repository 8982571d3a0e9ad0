use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use crate::Qcow2Error;
use crate::extensions::Extension;
use crate::fields::Fields;

/// A qcow2 header whose every number has been held against the file's length and the format's limits.
///
/// Offsets and lengths are in bytes from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Qcow2Header {
    /// 2 or 3.
    pub version: u32,
    /// A cluster is 2 to this power bytes: 9 (512 B) to 21 (2 MiB).
    pub cluster_bits: u32,
    /// The size of the disk that a guest sees.
    pub virtual_bytes: u64,
    /// The length of the file.
    pub file_bytes: u64,
    /// The disk that this one is an overlay of.
    pub backing: Option<BackingFile>,
    /// How the guest's data is encrypted.
    pub encryption: Encryption,
    /// The top level of the mapping from the guest's clusters to the file's.
    pub l1: Table,
    /// The top level of the clusters' reference counts.
    pub refcounts: Table,
    /// Snapshots kept inside the file.
    pub internal_snapshots: u32,
    /// What a reader has to know of, may ignore, or has to clear when it writes.
    pub features: Features,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// The length of the header's fields; the extensions follow.
    pub(crate) fields_length: u32,
    pub(crate) extensions: Vec<Extension>,
}

/// A backing file, as the header names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingFile {
    /// The name, 1 to 1023 bytes. QEMU takes it as a path relative to the overlay, unless it is
    /// absolute, begins with `json:` or with a protocol.
    pub name: Vec<u8>,
    /// The format to open it in. Without one QEMU guesses from the file's contents.
    pub format: Option<String>,
}

/// The encryption method of the guest's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// None.
    None,
    /// AES, long deprecated.
    Aes,
    /// LUKS.
    Luks,
}

/// How compressed clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate.
    Zlib,
    /// Zstandard.
    Zstd,
}

/// A table of 8-byte entries in the file, cluster-aligned and wholly inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Where it begins.
    pub offset: u64,
    /// How many entries it has.
    pub entries: u64,
}

impl Table {
    /// The bytes of the file that it takes up.
    pub(crate) fn bytes(&self) -> Range<u64> {
        self.offset..self.offset + self.entries * 8
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.bytes(), other.bytes());
        ours.start < theirs.end && theirs.start < ours.end
    }
}

/// The feature bits. Version 2 has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// A reader that does not know one of these must not open the file.
    pub incompatible: u64,
    /// A reader may ignore these.
    pub compatible: u64,
    /// A writer that does not know one of these must clear it.
    pub autoclear: u64,
}

impl Features {
    /// The reference counts may be wrong: the file was not closed.
    pub const DIRTY: u64 = 1 << 0;
    /// A table is known to be wrong.
    pub const CORRUPT: u64 = 1 << 1;
    /// The guest's data is in another file.
    pub const EXTERNAL_DATA_FILE: u64 = 1 << 2;
    /// Clusters are compressed with something else than zlib.
    pub const COMPRESSION_TYPE: u64 = 1 << 3;
    /// L2 entries are 16 bytes long and map parts of clusters.
    pub const EXTENDED_L2: u64 = 1 << 4;

    /// Every incompatible feature that this reader knows.
    pub const KNOWN_INCOMPATIBLE: u64 = Self::DIRTY
        | Self::CORRUPT
        | Self::EXTERNAL_DATA_FILE
        | Self::COMPRESSION_TYPE
        | Self::EXTENDED_L2;

    /// The autoclear feature that says that the persistent bitmaps in the file are up to date.
    pub const BITMAPS: u64 = 1 << 0;
    /// The autoclear feature that says that the external data file is a raw image by itself.
    pub const RAW_EXTERNAL_DATA: u64 = 1 << 1;

    /// Every autoclear feature that this reader knows.
    pub const KNOWN_AUTOCLEAR: u64 = Self::BITMAPS | Self::RAW_EXTERNAL_DATA;
}

/// What is read at once; nearly every header, name and all, is shorter.
const FIRST_READ: u64 = 4 << 10;

impl Qcow2Header {
    /// Reads the header of the qcow2 file in `reader`, from its start.
    ///
    /// What comes back is consistent in itself and with the file's length; the tables that it points to
    /// have not been looked at ([`check_tables`](Self::check_tables)), and what it points to may still be
    /// nothing that anyone should open ([`require_overlay`](Self::require_overlay)).
    ///
    /// # Errors
    ///
    /// [`NotQcow2`](Qcow2Error::NotQcow2) or [`Malformed`](Qcow2Error::Malformed) with what is wrong and
    /// where; [`Io`](Qcow2Error::Io) when reading fails.
    pub fn read(mut reader: impl Read + Seek) -> Result<Self, Qcow2Error> {
        let file_bytes = reader.seek(SeekFrom::End(0))?;
        let mut bytes = read_range(&mut reader, 0..file_bytes.min(FIRST_READ))?;
        let fields = Fields::parse(&bytes)?;
        let wanted = fields.first_cluster_bytes_used(file_bytes)?;
        if wanted > bytes.len() as u64 {
            bytes = read_range(&mut reader, 0..wanted)?;
        }
        fields.into_header(&bytes, file_bytes)
    }

    /// The size of a cluster in bytes.
    #[must_use]
    pub fn cluster_bytes(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Whether the incompatible feature `bit` is set.
    #[must_use]
    pub fn has(&self, bit: u64) -> bool {
        self.features.incompatible & bit != 0
    }
}

/// Reads exactly `range`, which the caller has bounded.
pub(crate) fn read_range(
    reader: &mut (impl Read + Seek),
    range: Range<u64>,
) -> Result<Vec<u8>, Qcow2Error> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    reader.seek(SeekFrom::Start(range.start))?;
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
