use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cache_key::{BaseImage, DiskFormat, ImageDigest};
use cache_layer::ContentDigest;
use serde::{Deserialize, Serialize};

use crate::{ImageError, ImageManifest};

/// A base image whose disk is what its manifest says.
#[derive(Debug, Clone)]
pub struct Image {
    dir: PathBuf,
    manifest: ImageManifest,
}

pub(crate) const DISK: &str = "disk.qcow2";
pub(crate) const KERNEL: &str = "vmlinuz";
pub(crate) const INITRD: &str = "initrd.img";
pub(crate) const MANIFEST: &str = "image.json";
const STAT: &str = "disk.stat.json";

impl Image {
    /// Opens the image in the folder `dir`. Its disk is hashed, unless it is the very file that was hashed
    /// before: then this costs a few system calls.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, ImageError> {
        let manifest = ImageManifest::read(&dir.join(MANIFEST))?;
        let image = Self { dir, manifest };
        image.prove()?;
        Ok(image)
    }

    /// The image in `dir`, whose disk nobody has held against `manifest` yet, or need not.
    pub(crate) fn unproven(dir: PathBuf, manifest: ImageManifest) -> Self {
        Self { dir, manifest }
    }

    /// The folder that the image is in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the image is.
    #[must_use]
    pub fn manifest(&self) -> &ImageManifest {
        &self.manifest
    }

    /// The disk that snapshots are built over.
    #[must_use]
    pub fn base_image(&self) -> BaseImage {
        BaseImage::new(self.dir.join(DISK), DiskFormat::Qcow2, self.manifest.digest)
    }

    /// The kernel, for an image that is booted by one.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(KERNEL)
    }

    /// The initial RAM disk, for an image that has one.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.dir.join(INITRD)
    }

    fn prove(&self) -> Result<(), ImageError> {
        let path = self.dir.join(DISK);
        let stat = Stat::of(&path).map_err(ImageError::io("look at the disk", &path))?;
        let known = self.dir.join(STAT);
        if stat.is_known(&known) {
            return Ok(());
        }
        let found = digest(&path).map_err(ImageError::io("hash the disk", &path))?;
        let expected = self.manifest.digest;
        if found != expected {
            return Err(ImageError::Changed {
                path,
                expected,
                found,
            });
        }
        // Where it cannot be remembered, it is hashed again the next time.
        if let Err(error) = stat.remember(&known) {
            tracing::debug!(path = %known.display(), %error, "cannot remember that the disk was hashed");
        }
        Ok(())
    }
}

/// The digest by which an image with this disk is known.
pub(crate) fn digest(disk: &Path) -> io::Result<ImageDigest> {
    let digest = ContentDigest::of_file(disk)?;
    Ok(ImageDigest::from_bytes(digest.to_bytes()))
}

/// By what a file is recognised that has not been written to since: no write leaves all of it the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stat {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        Ok(Self {
            device: data.dev(),
            inode: data.ino(),
            bytes: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }

    fn is_known(&self, known: &Path) -> bool {
        let json = fs::read(known).ok();
        json.and_then(|json| serde_json::from_slice::<Self>(&json).ok())
            .as_ref()
            == Some(self)
    }

    fn remember(&self, known: &Path) -> io::Result<()> {
        let dir = known.parent().unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&file, self)?;
        file.persist(known)?;
        Ok(())
    }
}
