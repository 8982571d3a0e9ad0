//! The header's fields, and what each of them is held against.

use crate::extensions::{self, BACKING_FORMAT, Extension};
use crate::{BackingFile, Compression, Encryption, Features, Qcow2Error, Qcow2Header, Table};

const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The fields of version 2, and the least of version 3.
const V2_FIELDS: u32 = 72;
const V3_FIELDS: u32 = 104;
const LONGEST_BACKING_NAME: u32 = 1023;
/// QEMU's own limits (`block/qcow2.h`: `QCOW_MAX_L1_SIZE`, `QCOW_MAX_REFTABLE_SIZE`).
const LARGEST_L1_BYTES: u64 = 32 << 20;
const LARGEST_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// The largest disk: QEMU counts bytes in 63 bits.
const LARGEST_DISK: u64 = i64::MAX as u64;
/// What a snapshot takes in the snapshot table at the least.
const LEAST_SNAPSHOT_BYTES: u64 = 40;
/// A cluster that is mapped in parts has 32 of them, none smaller than 512 bytes.
const LEAST_EXTENDED_L2_CLUSTER_BITS: u32 = 14;

/// The header's fields as they stand in the file, those of version 3 with version 2's values filled in.
pub(crate) struct Fields {
    version: u32,
    backing_offset: u64,
    backing_bytes: u32,
    cluster_bits: u32,
    virtual_bytes: u64,
    encryption: u32,
    l1_entries: u32,
    l1_offset: u64,
    refcount_offset: u64,
    refcount_clusters: u32,
    internal_snapshots: u32,
    snapshots_offset: u64,
    features: Features,
    refcount_order: u32,
    length: u32,
    compression: u8,
}

impl Fields {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Qcow2Error> {
        let not = |why: String| Qcow2Error::NotQcow2(why);
        if bytes.first_chunk() != Some(&MAGIC) {
            return Err(not("the magic number is missing".to_owned()));
        }
        let cut_off = || {
            Qcow2Error::malformed(format!(
                "the file of {} bytes ends in its header",
                bytes.len()
            ))
        };
        let u32_at = |at: usize| -> Result<u32, Qcow2Error> {
            let field = bytes
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .ok_or_else(cut_off)?;
            Ok(u32::from_be_bytes(*field))
        };
        let u64_at = |at: usize| -> Result<u64, Qcow2Error> {
            let field = bytes
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .ok_or_else(cut_off)?;
            Ok(u64::from_be_bytes(*field))
        };
        let version = u32_at(4)?;
        let is_v3 = match version {
            2 => false,
            3 => true,
            _ => return Err(not(format!("version {version} is neither 2 nor 3"))),
        };
        let length = if is_v3 { u32_at(100)? } else { V2_FIELDS };
        // The compression type came later: a header that ends before it means zlib.
        let compression = match length > V3_FIELDS {
            true => *bytes.get(V3_FIELDS as usize).ok_or_else(cut_off)?,
            false => 0,
        };
        Ok(Self {
            version,
            backing_offset: u64_at(8)?,
            backing_bytes: u32_at(16)?,
            cluster_bits: u32_at(20)?,
            virtual_bytes: u64_at(24)?,
            encryption: u32_at(32)?,
            l1_entries: u32_at(36)?,
            l1_offset: u64_at(40)?,
            refcount_offset: u64_at(48)?,
            refcount_clusters: u32_at(56)?,
            internal_snapshots: u32_at(60)?,
            snapshots_offset: u64_at(64)?,
            features: match is_v3 {
                true => Features {
                    incompatible: u64_at(72)?,
                    compatible: u64_at(80)?,
                    autoclear: u64_at(88)?,
                },
                false => Features::default(),
            },
            refcount_order: if is_v3 { u32_at(96)? } else { 4 },
            length,
            compression,
        })
    }

    /// How much of the first cluster has to be read for the extensions and the backing name. Checks on the
    /// way what decides it.
    pub(crate) fn first_cluster_bytes_used(&self, file_bytes: u64) -> Result<u64, Qcow2Error> {
        let bits = self.cluster_bits;
        if !(9..=21).contains(&bits) {
            return Err(Qcow2Error::malformed(format!(
                "clusters of 2^{bits} bytes are not between 2^9 and 2^21"
            )));
        }
        let cluster = 1_u64 << bits;
        let length = u64::from(self.length);
        let least = if self.version == 2 {
            V2_FIELDS
        } else {
            V3_FIELDS
        };
        if self.length < least || !self.length.is_multiple_of(8) || length > cluster {
            return Err(Qcow2Error::malformed(format!(
                "a header length of {length} is no multiple of 8 between {least} and the cluster size of {cluster}"
            )));
        }
        if self.backing_offset == 0 {
            return Ok(cluster.min(file_bytes));
        }
        let bytes = self.backing_bytes;
        if !(1..=LONGEST_BACKING_NAME).contains(&bytes) {
            return Err(Qcow2Error::malformed(format!(
                "a backing file name of {bytes} bytes is not between 1 and {LONGEST_BACKING_NAME}"
            )));
        }
        let room = cluster.min(file_bytes);
        let end = self.backing_offset.checked_add(bytes.into());
        let end = end.filter(|&end| end <= room && self.backing_offset >= length);
        end.ok_or_else(|| {
            Qcow2Error::malformed(format!(
                "the backing file name at {:#x} ({bytes} bytes) is not between the header's end at {length:#x} and the end of the first cluster, or of the file, at {room:#x}",
                self.backing_offset
            ))
        })
    }

    pub(crate) fn into_header(
        self,
        first: &[u8],
        file_bytes: u64,
    ) -> Result<Qcow2Header, Qcow2Error> {
        let name_at = self.backing_offset as usize;
        let area = if self.backing_offset == 0 {
            first.len()
        } else {
            name_at
        };
        let area = first.get(self.length as usize..area).unwrap_or_default();
        let extensions = extensions::parse(area)?;
        let backing = match self.backing_offset {
            0 => None,
            _ => Some(BackingFile {
                name: first
                    .get(name_at..name_at + self.backing_bytes as usize)
                    .unwrap_or_default()
                    .to_vec(),
                format: backing_format(&extensions)?,
            }),
        };
        let (l1, refcounts) = (self.l1(file_bytes)?, self.refcounts(file_bytes)?);
        if l1.overlaps(&refcounts) {
            return Err(Qcow2Error::malformed(format!(
                "the L1 table at {:#x} overlaps the refcount table at {:#x}",
                l1.offset, refcounts.offset
            )));
        }
        self.check_snapshot_table(file_bytes)?;
        Ok(Qcow2Header {
            version: self.version,
            cluster_bits: self.cluster_bits,
            virtual_bytes: self.virtual_bytes,
            file_bytes,
            backing,
            encryption: self.encryption()?,
            l1,
            refcounts,
            internal_snapshots: self.internal_snapshots,
            features: self.features,
            compression: self.compression()?,
            fields_length: self.length,
            extensions,
        })
    }

    fn encryption(&self) -> Result<Encryption, Qcow2Error> {
        match self.encryption {
            0 => Ok(Encryption::None),
            1 => Ok(Encryption::Aes),
            2 => Ok(Encryption::Luks),
            method => Err(Qcow2Error::malformed(format!(
                "encryption method {method} is not known"
            ))),
        }
    }

    fn compression(&self) -> Result<Compression, Qcow2Error> {
        let is_flagged = self.features.incompatible & Features::COMPRESSION_TYPE != 0;
        match (self.compression, is_flagged) {
            (0, false) => Ok(Compression::Zlib),
            (1, true) => Ok(Compression::Zstd),
            (kind, _) => Err(Qcow2Error::malformed(format!(
                "compression type {kind} does not go with the compression feature bit, or is not known"
            ))),
        }
    }

    fn l1(&self, file_bytes: u64) -> Result<Table, Qcow2Error> {
        let is_extended = self.features.incompatible & Features::EXTENDED_L2 != 0;
        if is_extended && self.cluster_bits < LEAST_EXTENDED_L2_CLUSTER_BITS {
            return Err(Qcow2Error::malformed(format!(
                "clusters of 2^{} bytes are too small to be mapped in parts, which takes 2^{LEAST_EXTENDED_L2_CLUSTER_BITS}",
                self.cluster_bits
            )));
        }
        let entry_bytes = if is_extended { 16 } else { 8 };
        let cluster = 1_u64 << self.cluster_bits;
        let mapped_by_one = cluster * (cluster / entry_bytes);
        let entries = u64::from(self.l1_entries);
        if self.virtual_bytes > LARGEST_DISK {
            return Err(Qcow2Error::malformed(format!(
                "a disk of {} bytes is too large",
                self.virtual_bytes
            )));
        }
        let needed = self.virtual_bytes.div_ceil(mapped_by_one);
        if entries < needed {
            return Err(Qcow2Error::malformed(format!(
                "an L1 table of {entries} entries does not map a disk of {} bytes, which needs {needed}",
                self.virtual_bytes
            )));
        }
        if entries * 8 > LARGEST_L1_BYTES {
            return Err(Qcow2Error::malformed(format!(
                "an L1 table of {entries} entries is larger than 32 MiB"
            )));
        }
        self.table("L1 table", self.l1_offset, entries, file_bytes)
    }

    fn refcounts(&self, file_bytes: u64) -> Result<Table, Qcow2Error> {
        if self.refcount_order > 6 {
            return Err(Qcow2Error::malformed(format!(
                "reference counts of 2^{} bits are too wide",
                self.refcount_order
            )));
        }
        let bytes = u64::from(self.refcount_clusters) << self.cluster_bits;
        if bytes == 0 || bytes > LARGEST_REFCOUNT_TABLE_BYTES {
            return Err(Qcow2Error::malformed(format!(
                "a refcount table of {bytes} bytes is none, or larger than 8 MiB"
            )));
        }
        self.table(
            "refcount table",
            self.refcount_offset,
            bytes / 8,
            file_bytes,
        )
    }

    /// Where the snapshots are is of interest to nobody here; that it is nowhere is a sign of damage.
    fn check_snapshot_table(&self, file_bytes: u64) -> Result<(), Qcow2Error> {
        let bytes = u64::from(self.internal_snapshots) * LEAST_SNAPSHOT_BYTES;
        self.check_place("snapshot table", self.snapshots_offset, bytes, file_bytes)
    }

    fn table(
        &self,
        what: &str,
        offset: u64,
        entries: u64,
        file_bytes: u64,
    ) -> Result<Table, Qcow2Error> {
        self.check_place(what, offset, entries * 8, file_bytes)?;
        Ok(Table { offset, entries })
    }

    /// A table begins at a cluster that is not the header's, and lies in the file. One of no bytes may be
    /// nowhere, at 0; QEMU does not open a file where it is between clusters.
    fn check_place(
        &self,
        what: &str,
        offset: u64,
        bytes: u64,
        file_bytes: u64,
    ) -> Result<(), Qcow2Error> {
        let is_in_the_header = offset == 0 && bytes > 0;
        if is_in_the_header || !offset.is_multiple_of(1 << self.cluster_bits) {
            return Err(Qcow2Error::malformed(format!(
                "the {what} at {offset:#x} does not begin at a cluster of its own"
            )));
        }
        match offset.checked_add(bytes) {
            Some(end) if end <= file_bytes || bytes == 0 => Ok(()),
            _ => Err(Qcow2Error::malformed(format!(
                "the {what} at {offset:#x} ({bytes} bytes) ends past the end of the file at {file_bytes:#x}"
            ))),
        }
    }
}

fn backing_format(extensions: &[Extension]) -> Result<Option<String>, Qcow2Error> {
    let Some(extension) = extensions
        .iter()
        .find(|extension| extension.kind == BACKING_FORMAT)
    else {
        return Ok(None);
    };
    let format = String::from_utf8(extension.data.clone());
    format
        .map(Some)
        .map_err(|_| Qcow2Error::malformed("the backing format's name is not UTF-8"))
}
