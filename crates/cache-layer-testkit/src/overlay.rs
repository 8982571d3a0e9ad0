//! Small qcow2 files, written here byte by byte: a layer is tested with real disks on hosts without QEMU too.
//!
//! The layout is that of QEMU's `docs/interop/qcow2.txt`, version 3: header, reference count table, one block of
//! reference counts, L1 table, L2 tables, data; a cluster each but for the L2 tables and the data.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cache_key::{BaseImage, DiskFormat, ImageDigest, SnapshotSpec};
use cache_layer::{ContentDigest, Disk, Manifest, Provenance, Snapshot, Staging};
use jiff::Timestamp;

const CLUSTER_BITS: u32 = 12;
const CLUSTER: usize = 1 << CLUSTER_BITS;
/// Entries of 8 bytes that fit into a cluster.
const ENTRIES: usize = CLUSTER / 8;
/// One block of 16-bit reference counts has no more.
const MOST_CLUSTERS: usize = CLUSTER / 2;
const VIRTUAL_BYTES: u64 = 16 << 20;
/// Header, reference count table and block, L1 table.
const FIXED_CLUSTERS: usize = 4;
/// Set in an entry of a table: what it leads to is used by nothing else.
const COPIED: u64 = 1 << 63;
const HEADER_BYTES: usize = 112;
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Data clusters of a disk that is made in no time: 32 KiB.
pub(crate) const SMALL: usize = 8;
/// Data clusters of a disk that takes a while to write or to send: 6 MiB.
pub(crate) const LARGE: usize = 1536;

/// A disk's contents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overlay {
    /// Clusters of 4 KiB that hold what a seed says, from the disk's beginning.
    pub(crate) data_clusters: usize,
    /// Two seeds have no data in common.
    pub(crate) seed: u64,
}

impl Overlay {
    /// The snapshot of `spec` with these contents, in staging, as a builder leaves it.
    pub(crate) fn staged(self, spec: &SnapshotSpec, staging: &Staging) -> io::Result<Snapshot> {
        let file = staging.file(&spec.key());
        let snapshot = self.at(spec, file.path())?;
        Ok(snapshot.held_by(file))
    }

    /// The same in the file `path`, which stays.
    pub(crate) fn at(self, spec: &SnapshotSpec, path: &Path) -> io::Result<Snapshot> {
        let bytes = self.bytes(Some(spec.base_image()))?;
        fs::write(path, &bytes)?;
        let provenance = Provenance::new(Timestamp::UNIX_EPOCH, "cache-layer-testkit");
        let manifest = Manifest::new(spec.canonical(), disk(&bytes), provenance);
        Ok(Snapshot::new(path, manifest))
    }

    /// The file's bytes, over `base` if one is given.
    fn bytes(self, base: Option<&BaseImage>) -> io::Result<Vec<u8>> {
        let l2_tables = self.data_clusters.div_ceil(ENTRIES);
        let first_data = FIXED_CLUSTERS + l2_tables;
        let clusters = first_data + self.data_clusters;
        assert!(clusters <= MOST_CLUSTERS, "one block counts them all");
        let mut file = vec![0; clusters * CLUSTER];
        write_header(&mut file[..CLUSTER], base)?;

        put_u64(&mut file, CLUSTER, at(2));
        for count in file[2 * CLUSTER..][..2 * clusters].chunks_exact_mut(2) {
            count.copy_from_slice(&1_u16.to_be_bytes());
        }
        for table in 0..l2_tables {
            let entry = COPIED | at(FIXED_CLUSTERS + table);
            put_u64(&mut file, 3 * CLUSTER + 8 * table, entry);
        }
        for cluster in 0..self.data_clusters {
            let entry = COPIED | at(first_data + cluster);
            put_u64(&mut file, FIXED_CLUSTERS * CLUSTER + 8 * cluster, entry);
        }
        fastrand::Rng::with_seed(self.seed).fill(&mut file[first_data * CLUSTER..]);
        Ok(file)
    }
}

/// An empty disk for snapshots to stand on, made at `path` if there is none: another process may have its own
/// snapshots on it.
pub(crate) fn make_base_image(path: PathBuf) -> io::Result<BaseImage> {
    let empty = Overlay {
        data_clusters: 0,
        seed: 0,
    };
    let bytes = empty.bytes(None)?;
    let digest = ImageDigest::from_bytes(ContentDigest::of_reader(&*bytes)?.to_bytes());
    if !path.exists() {
        fs::write(&path, &bytes)?;
    }
    Ok(BaseImage::new(path, DiskFormat::Qcow2, digest))
}

/// Whether a manifest says this of these bytes.
pub(crate) fn is_of(bytes: &[u8], disk: &Disk) -> bool {
    bytes.len() as u64 == disk.file_bytes
        && ContentDigest::of_reader(bytes).is_ok_and(|digest| digest == disk.blake3)
}

/// The name of the backing file in the header of the qcow2 file at `path`, if it has any. The header is one of ours, or
/// one of ours with another name in it: it is in the first cluster.
pub(crate) fn read_backing_file(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut header = Vec::new();
    fs::File::open(path)?
        .take(CLUSTER as u64)
        .read_to_end(&mut header)?;
    Ok(backing_file(&header))
}

/// The name of the backing file in the header of a qcow2 file, if it has any.
pub(crate) fn backing_file(file: &[u8]) -> Option<PathBuf> {
    let offset = u64::from_be_bytes(file.get(8..16)?.try_into().ok()?);
    let length = u32::from_be_bytes(file.get(16..20)?.try_into().ok()?);
    let offset = usize::try_from(offset).ok().filter(|offset| *offset > 0)?;
    let name = file.get(offset..)?.get(..length as usize)?;
    Some(PathBuf::from(std::str::from_utf8(name).ok()?))
}

fn disk(bytes: &[u8]) -> Disk {
    Disk::of_reader(bytes, VIRTUAL_BYTES).expect("memory can always be read")
}

fn write_header(header: &mut [u8], base: Option<&BaseImage>) -> io::Result<()> {
    header[..4].copy_from_slice(b"QFI\xfb");
    put_u32(header, 4, 3);
    put_u32(header, 20, CLUSTER_BITS);
    put_u64(header, 24, VIRTUAL_BYTES);
    let l1_entries = VIRTUAL_BYTES.div_ceil((CLUSTER * ENTRIES) as u64);
    put_u32(header, 36, l1_entries as u32);
    put_u64(header, 40, at(3));
    put_u64(header, 48, at(1));
    put_u32(header, 56, 1);
    // Reference counts of 2^4 bits.
    put_u32(header, 96, 4);
    put_u32(header, 100, HEADER_BYTES as u32);
    let Some(base) = base else {
        return Ok(());
    };
    let (name, format) = (base.path().as_os_str().as_encoded_bytes(), base.format());
    let format = format.as_str().as_bytes();
    put_u32(header, HEADER_BYTES, BACKING_FORMAT);
    put_u32(header, HEADER_BYTES + 4, format.len() as u32);
    header[HEADER_BYTES + 8..][..format.len()].copy_from_slice(format);
    // The extension, padded to 8 bytes, and the one of type 0 that ends them.
    let name_at = HEADER_BYTES + 8 + format.len().next_multiple_of(8) + 8;
    put_u64(header, 8, name_at as u64);
    put_u32(header, 16, name.len() as u32);
    let too_long = || io::Error::other("the base image's path is too long for a qcow2 header");
    let place = header.get_mut(name_at..name_at + name.len());
    place.ok_or_else(too_long)?.copy_from_slice(name);
    Ok(())
}

/// Where a cluster begins.
fn at(cluster: usize) -> u64 {
    (cluster * CLUSTER) as u64
}

fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..][..4].copy_from_slice(&number.to_be_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..][..8].copy_from_slice(&number.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use cache_key::{Language, PackageSet};

    use super::*;

    #[test]
    fn disks_of_either_size_are_sound_in_our_eyes_and_in_those_of_qemu() {
        let dir = tempfile::tempdir().unwrap();
        let base = make_base_image(dir.path().join("base.qcow2")).unwrap();
        let packages = PackageSet::parse(Language::Python, ["a==1"]).unwrap();
        let spec = SnapshotSpec::new(base.clone(), packages);
        for data_clusters in [0, SMALL, LARGE] {
            let overlay = Overlay {
                data_clusters,
                seed: 7,
            };
            let made = overlay.at(&spec, &dir.path().join("made.qcow2")).unwrap();
            let file = File::open(made.path()).unwrap();
            let header = qcow2_header::vet_overlay(&file, Path::new("qemu-img")).unwrap();
            assert_eq!(header.virtual_bytes, VIRTUAL_BYTES);
            let bytes = fs::read(made.path()).unwrap();
            assert_eq!(backing_file(&bytes).unwrap(), base.path());
            assert!(is_of(&bytes, made.manifest().disk()));
            assert!(!is_of(&bytes[1..], made.manifest().disk()));
        }
        let header = qcow2_header::Qcow2Header::read(File::open(base.path()).unwrap());
        header.unwrap().require_standalone().unwrap();
    }
}
