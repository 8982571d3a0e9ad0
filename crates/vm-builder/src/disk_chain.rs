use std::path::{Path, PathBuf};

use cache_key::{BaseImage, DiskFormat};

/// The files that a guest's disk consists of. They are told to QEMU one by one, so that it follows no name that
/// stands in one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskChain {
    /// The qcow2 overlay that the guest writes to.
    pub(crate) overlay: PathBuf,
    /// What lies behind it, nearest first.
    pub(crate) behind: Vec<(PathBuf, DiskFormat)>,
}

impl DiskChain {
    /// An overlay over a base image.
    pub(crate) fn over_image(overlay: &Path, base: &BaseImage) -> Self {
        Self {
            overlay: overlay.to_owned(),
            behind: vec![(base.path().to_owned(), base.format())],
        }
    }

    /// An overlay over a snapshot, which lies over a base image.
    pub(crate) fn over_snapshot(overlay: &Path, snapshot: &Path, base: &BaseImage) -> Self {
        let mut chain = Self::over_image(overlay, base);
        let snapshot = (snapshot.to_owned(), DiskFormat::Qcow2);
        chain.behind.insert(0, snapshot);
        chain
    }
}
