//! What a QEMU gets open from us: it runs as a user that may open none of it, in directories that it cannot enter.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cache_key::DiskFormat;
use rustix::fs::{MemfdFlags, memfd_create};
use thiserror::Error;

use crate::disk_chain::DiskChain;
use crate::guest_image::Boot;
use crate::machine::DiskFile;
use crate::qemu_user::Ids;

/// The descriptors that a QEMU is to inherit, each under its own number.
#[derive(Debug)]
pub(crate) struct Handover {
    /// Who opens by name what can only be opened by name; nobody else when it is us.
    to: Option<Ids>,
    inherited: Vec<OwnedFd>,
}

/// A file could not be opened for a QEMU.
#[derive(Debug, Error)]
#[error("open `{}` for QEMU", path.display())]
pub(crate) struct HandoverError {
    path: PathBuf,
    source: io::Error,
}

impl Handover {
    pub(crate) fn to(user: Option<Ids>) -> Self {
        Self {
            to: user,
            inherited: Vec::new(),
        }
    }

    /// The same boot, from files that the user can open.
    pub(crate) fn boot(&mut self, boot: &Boot) -> Result<Boot, HandoverError> {
        Ok(match boot {
            Boot::Firmware => Boot::Firmware,
            Boot::Kernel {
                kernel,
                initrd,
                append,
            } => Boot::Kernel {
                kernel: self.by_name(kernel)?,
                initrd: match initrd {
                    Some(initrd) => Some(self.by_name(initrd)?),
                    None => None,
                },
                append: append.clone(),
            },
        })
    }

    /// The files of a disk, only the first to be written to.
    pub(crate) fn disk(&mut self, chain: &DiskChain) -> Result<Vec<DiskFile>, HandoverError> {
        let mut files = Vec::new();
        let mut add = |path: &Path, format, is_written| {
            let file = OpenOptions::new().read(true).write(is_written).open(path);
            let file = file.map_err(HandoverError::of(path))?;
            let fd = self.inherit(file);
            files.push(DiskFile { fd, format });
            Ok(())
        };
        add(&chain.overlay, DiskFormat::Qcow2, true)?;
        for (path, format) in &chain.behind {
            add(path, *format, false)?;
        }
        Ok(files)
    }

    /// Anything open, by the number that it is inherited under.
    pub(crate) fn inherit(&mut self, file: impl Into<OwnedFd>) -> RawFd {
        let file = file.into();
        let fd = file.as_raw_fd();
        self.inherited.push(file);
        fd
    }

    pub(crate) fn inherited(self) -> Vec<OwnedFd> {
        self.inherited
    }

    /// A name by which the user can open the file at `path`. QEMU takes kernels by name only. The kernel asks for
    /// the file's own permission then, not for that of the directories on the way; where it would refuse, the
    /// user gets a copy in memory.
    fn by_name(&mut self, path: &Path) -> Result<PathBuf, HandoverError> {
        let open = || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            match self.to {
                Some(user) if !user.may_read(metadata.uid(), metadata.gid(), metadata.mode()) => {
                    copy_to_memory(file)
                }
                _ => Ok(file),
            }
        };
        let file = open().map_err(HandoverError::of(path))?;
        Ok(format!("/proc/self/fd/{}", self.inherit(file)).into())
    }
}

/// A file without a name, which everybody who has it open may open again.
fn copy_to_memory(mut file: File) -> io::Result<File> {
    let mut copy = File::from(memfd_create("kernel", MemfdFlags::CLOEXEC)?);
    io::copy(&mut file, &mut copy)?;
    Ok(copy)
}

impl HandoverError {
    fn of(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            path: path.to_owned(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn kernel(dir: &Path, mode: u32) -> Boot {
        let path = dir.join("kernel");
        fs::write(&path, "a kernel").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Boot::Kernel {
            kernel: path,
            initrd: None,
            append: String::new(),
        }
    }

    #[test]
    fn a_kernel_that_the_user_may_not_read_is_copied_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, is_copied) in [(0o644, false), (0o600, true)] {
            let stranger = Ids {
                uid: 60_000,
                gid: 60_000,
            };
            let mut handover = Handover::to(Some(stranger));
            let boot = handover.boot(&kernel(dir.path(), mode)).unwrap();
            let Boot::Kernel { kernel, .. } = boot else {
                panic!("{boot:?}");
            };
            assert_eq!(fs::read(&kernel).unwrap(), b"a kernel");
            let file = fs::read_link(&kernel).unwrap();
            assert_eq!(!file.starts_with(dir.path()), is_copied, "{file:?}");
            // A name is only as good as the file behind it, opened anew.
            assert!(is_copied == (fs::metadata(&kernel).unwrap().mode() & 0o007 == 0o007));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let chain = DiskChain {
            overlay: "/nowhere/overlay.qcow2".into(),
            behind: Vec::new(),
        };
        let error = Handover::to(None).disk(&chain).unwrap_err();
        assert_eq!(error.to_string(), "open `/nowhere/overlay.qcow2` for QEMU");
    }
}
