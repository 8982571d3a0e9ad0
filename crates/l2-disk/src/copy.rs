//! A copy of a disk, in another file system too.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, ioctl_ficlone, seek};
use rustix::io::Errno;

/// Makes the new file `to` with the contents of `from`. Where the file system can, the two share their blocks;
/// elsewhere what is not a hole is copied, so that a sparse file stays sparse.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (source, target) = (File::open(from)?, File::create_new(to)?);
    match ioctl_ficlone(&target, &source) {
        Ok(()) => Ok(()),
        // Whatever the reason: another file system, one that cannot share, a kernel that does not know of it.
        Err(_) => copy_data(&source, &target),
    }
}

/// The most that is held in memory.
const PIECE: u64 = 1 << 20;

fn copy_data(source: &File, target: &File) -> io::Result<()> {
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut piece = vec![0; PIECE.min(length) as usize];
    let mut at = 0;
    while let Some(data) = next_data(source, at, length)? {
        let hole = seek(source, SeekFrom::Hole(data))?.min(length);
        at = data;
        while at < hole {
            let piece = &mut piece[..PIECE.min(hole - at) as usize];
            source.read_exact_at(piece, at)?;
            target.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
    }
    Ok(())
}

/// Where the next data begins at or after `at`. A file system without holes says that everything is data.
fn next_data(source: &File, at: u64, length: u64) -> io::Result<Option<u64>> {
    if at >= length {
        return Ok(None);
    }
    match seek(source, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data).filter(|&data| data < length)),
        // Nothing but a hole up to the end.
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_holes_in_another_file_system_too() {
        let here = tempfile::tempdir().unwrap();
        for there in [here.path(), Path::new("/dev/shm")] {
            let there = tempfile::tempdir_in(there).unwrap();
            let (from, to) = (here.path().join("from"), there.path().join("to"));
            for (length, pieces) in [
                (0, &[][..]),
                (7, &[(0, 7)]),
                (64 << 20, &[]),
                (64 << 20, &[(5 << 20, 3 << 20), (63 << 20, 1 << 20)]),
                ((64 << 20) + 5, &[(0, 1), (32 << 20, 4096)]),
            ] {
                let file = File::create(&from).unwrap();
                file.set_len(length).unwrap();
                for &(at, bytes) in pieces {
                    file.write_all_at(&vec![9; bytes], at).unwrap();
                }
                copy(&from, &to).unwrap();
                assert!(std::fs::read(&to).unwrap() == std::fs::read(&from).unwrap());
                let allocated = to.metadata().unwrap().blocks() * 512;
                let data: usize = pieces.iter().map(|(_, bytes)| bytes).sum();
                // A block more at each end of each piece.
                assert!(
                    allocated <= (data + pieces.len() * (128 << 10)) as u64,
                    "{allocated} bytes for {data}"
                );
                std::fs::remove_file(&to).unwrap();
            }
        }
    }

    #[test]
    fn a_copy_takes_the_place_of_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "new").unwrap();
        std::fs::write(&to, "old").unwrap();
        copy(&from, &to).unwrap_err();
        assert_eq!(std::fs::read(&to).unwrap(), b"old");
    }
}
