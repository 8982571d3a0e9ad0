//! What kind of disk a file is that somebody names, told from its first bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::ImageError;

/// The formats that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForeignFormat {
    Qcow2,
    Raw,
}

/// A mark at the beginning of a file, and where it stands.
type Mark = (usize, &'static [u8]);

const QCOW2: &[u8] = b"QFI\xfb";
/// What a raw disk is told by: any other file might be taken for one.
const RAW: &[Mark] = &[
    // A boot sector, and so a partition table.
    (510, &[0x55, 0xaa]),
    // File systems on the whole disk: ext2 to ext4, XFS, Btrfs, EROFS, SquashFS.
    (1024 + 56, &[0x53, 0xef]),
    (0, b"XFSB"),
    (65536 + 64, b"_BHRfS_M"),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    (0, b"hsqs"),
];
/// Formats of others, for which there is a tool.
const OTHERS: &[(Mark, &str)] = &[
    ((0, b"KDMV"), "VMDK"),
    ((0, b"# Disk DescriptorFile"), "VMDK"),
    ((0, b"vhdxfile"), "VHDX"),
    ((0, b"conectix"), "VHD"),
    ((64, &[0x7f, 0x10, 0xda, 0xbe]), "VDI"),
];
/// Wrappings that have to come off first.
const WRAPPINGS: &[(Mark, &str)] = &[
    ((0, &[0x1f, 0x8b]), "gzip"),
    ((0, &[0xfd, b'7', b'z', b'X', b'Z', 0]), "xz"),
    ((0, &[0x28, 0xb5, 0x2f, 0xfd]), "zstd"),
    ((0, b"BZh"), "bzip2"),
    ((0, b"PK\x03\x04"), "zip"),
    ((257, b"ustar"), "tar"),
];
/// More than the furthest mark needs.
const LOOKED_AT: u64 = 68 << 10;

/// The format of the disk at `path`.
pub(crate) fn recognise(path: &Path) -> Result<ForeignFormat, ImageError> {
    let io = |what| ImageError::io(what, path);
    // A device or a pipe has no end that could be waited for.
    if !path.metadata().map_err(io("find the disk"))?.is_file() {
        return Err(foreign(path, "it is no file", "name a disk's file"));
    }
    let first = File::open(path).and_then(first_bytes);
    format(&first.map_err(io("read the disk"))?).map_err(|(fault, remedy)| {
        foreign(
            path,
            &fault,
            &remedy.replace("{}", &path.display().to_string()),
        )
    })
}

fn first_bytes(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LOOKED_AT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The format that begins like this; else what is wrong, and what helps, with `{}` for the file.
fn format(first: &[u8]) -> Result<ForeignFormat, (String, String)> {
    let has = |&(at, mark): &Mark| first.get(at..at + mark.len()) == Some(mark);
    let named = |table: &[(Mark, &'static str)]| {
        let found = table.iter().find(|(mark, _)| has(mark));
        found.map(|&(_, name)| name)
    };
    if first.starts_with(QCOW2) {
        return Ok(ForeignFormat::Qcow2);
    }
    if let Some(name) = named(OTHERS) {
        let remedy = "make a qcow2 disk of it with `qemu-img convert -O qcow2 {} disk.qcow2`";
        return Err((format!("it is a {name} disk"), remedy.to_owned()));
    }
    if let Some(name) = named(WRAPPINGS) {
        let remedy = "unpack it, and import the disk in it";
        return Err((format!("it is packed with {name}"), remedy.to_owned()));
    }
    if RAW.iter().any(has) {
        return Ok(ForeignFormat::Raw);
    }
    Err((
        "it is neither a qcow2 disk nor a raw one with a partition table or a file system"
            .to_owned(),
        "name a disk's file; `qemu-img info {}` says what QEMU takes this one for".to_owned(),
    ))
}

fn foreign(path: &Path, fault: &str, remedy: &str) -> ImageError {
    ImageError::ForeignDisk {
        path: path.to_owned(),
        fault: fault.to_owned(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(at: usize, mark: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; at];
        bytes.extend(mark);
        bytes
    }

    #[test]
    fn a_disk_is_told_by_its_marks_and_a_mark_that_is_cut_off_is_none() {
        assert_eq!(format(QCOW2), Ok(ForeignFormat::Qcow2));
        for &(at, mark) in RAW {
            assert_eq!(format(&marked(at, mark)), Ok(ForeignFormat::Raw));
            format(&marked(at, &mark[..mark.len() - 1])).unwrap_err();
        }
        for &((at, mark), name) in OTHERS.iter().chain(WRAPPINGS) {
            let (fault, _) = format(&marked(at, mark)).unwrap_err();
            assert!(fault.contains(name), "{fault}");
        }
    }

    #[test]
    fn a_text_an_empty_file_and_a_folder_are_no_disks() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("notes.txt");
        std::fs::write(&text, "not a disk\n".repeat(9000)).unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        for path in [text.as_path(), &empty, dir.path()] {
            let said = recognise(path).unwrap_err().to_string();
            assert!(
                said.contains(path.to_str().unwrap()) && said.contains("name a disk's file"),
                "{said}"
            );
        }
    }
}
