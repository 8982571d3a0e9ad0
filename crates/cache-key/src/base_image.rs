use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The read-only disk that a snapshot's backing chain ends in.
///
/// It is known by the digest of its bytes. The path is only where this host has it, and no part of what
/// it is: two base images are equal when their digests are.
#[derive(Debug, Clone)]
pub struct BaseImage {
    path: PathBuf,
    format: DiskFormat,
    digest: ImageDigest,
}

/// How a disk's bytes are laid out in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// QEMU's copy-on-write format.
    Qcow2,
    /// The disk's bytes, one after another.
    Raw,
}

impl BaseImage {
    /// The base image whose file, in `format`, is at the absolute `path`, and whose bytes have `digest`.
    ///
    /// # Panics
    ///
    /// `path` is relative: it would mean another file in another directory, and it stands in every
    /// snapshot as the name of the backing file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, format: DiskFormat, digest: ImageDigest) -> Self {
        let path = path.into();
        assert!(
            path.is_absolute(),
            "the path of a base image is absolute, and {path:?} is not"
        );
        Self {
            path,
            format,
            digest,
        }
    }

    /// Where this host has it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the file is laid out.
    #[must_use]
    pub fn format(&self) -> DiskFormat {
        self.format
    }

    /// What it is.
    #[must_use]
    pub fn digest(&self) -> ImageDigest {
        self.digest
    }
}

impl PartialEq for BaseImage {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for BaseImage {}

impl DiskFormat {
    /// QEMU's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// BLAKE3 of a base image's file, 32 bytes; 64 lower-case hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImageDigest([u8; 32]);

impl ImageDigest {
    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The first 8 hex digits, which stand in keys and in the names of folders.
    #[must_use]
    pub fn short(self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageDigest({self})")
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not an image digest: 64 lower-case hex digits are expected", .0.escape_debug())]
pub struct ParseImageDigestError(String);

impl FromStr for ImageDigest {
    type Err = ParseImageDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let parse = || {
            let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
            let mut bytes = [0; 32];
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
            }
            Some(Self(bytes))
        };
        parse().ok_or_else(|| ParseImageDigestError(text.to_owned()))
    }
}

impl TryFrom<String> for ImageDigest {
    type Error = ParseImageDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageDigest> for String {
    fn from(digest: ImageDigest) -> Self {
        digest.to_string()
    }
}
