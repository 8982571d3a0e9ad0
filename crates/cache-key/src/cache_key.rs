use std::fmt;
use std::str::FromStr;

use crc64fast::Digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ImageDigest, Language, PackageSet};

/// The name under which a snapshot is kept: `python-v0.1-1a2b3c4d-9f86d081884c7d65`.
///
/// Four parts, split at `-`:
///
/// 1. the language;
/// 2. `v` and the major and minor version of snaptier, so that a release that builds differently starts
///    afresh;
/// 3. the first 8 hex digits of the base image's digest;
/// 4. the CRC-64 of the package set in 16 hex digits, or `base` for no packages.
///
/// The CRC is CRC-64/XZ over each requirement in order: the length of its canonical text in bytes as 8
/// little-endian bytes, then the text in UTF-8. No two sets have one encoding, but two encodings can have
/// one CRC: whoever finds something under a key compares its whole [`CanonicalSpec`](crate::CanonicalSpec).
///
/// A key is a single, plain file name: it is made of `a`–`z`, `0`–`9`, `.` and `-`, begins with a letter
/// and never holds `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CacheKey {
    language: Language,
    version: KeyVersion,
    image: u32,
    /// `None` for no packages.
    packages: Option<u64>,
}

/// The release that a key belongs to, by its major and minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyVersion {
    /// The major version.
    pub major: u16,
    /// The minor version.
    pub minor: u16,
}

impl CacheKey {
    pub(crate) fn new(image: ImageDigest, packages: &PackageSet) -> Self {
        Self {
            language: packages.language(),
            version: KeyVersion::CURRENT,
            image: leading_bits(image),
            packages: (!packages.is_empty()).then(|| crc(packages.iter())),
        }
    }

    /// The language of the snapshot.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    /// The release that the key belongs to.
    #[must_use]
    pub fn version(&self) -> KeyVersion {
        self.version
    }

    /// Whether it names a snapshot with no packages.
    #[must_use]
    pub fn is_base(&self) -> bool {
        self.packages.is_none()
    }

    /// Whether it names the packages that `other` does, as far as 64 bits tell, over whatever base image and of
    /// whatever release.
    #[must_use]
    pub fn has_packages_of(&self, other: &Self) -> bool {
        self.language == other.language && self.packages == other.packages
    }

    /// Whether it names the base image that `other` does, as far as 32 bits tell, with whatever packages and of
    /// whatever release.
    #[must_use]
    pub fn has_base_image_of(&self, other: &Self) -> bool {
        self.language == other.language && self.image == other.image
    }

    /// The same key as another release would have it.
    #[must_use]
    pub fn in_version(&self, version: KeyVersion) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }
}

impl KeyVersion {
    /// This release's.
    pub const CURRENT: Self = Self {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
    };
}

const fn number(digits: &str) -> u16 {
    match u16::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version number of this package does not fit 16 bits"),
    }
}

fn leading_bits(image: ImageDigest) -> u32 {
    let [a, b, c, d, ..] = image.to_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn crc<'a>(requirements: impl Iterator<Item = &'a str>) -> u64 {
    let mut digest = Digest::new();
    for text in requirements {
        digest.write(&(text.len() as u64).to_le_bytes());
        digest.write(text.as_bytes());
    }
    digest.sum64()
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:08x}-", self.language, self.version, self.image)?;
        match self.packages {
            Some(crc) => write!(f, "{crc:016x}"),
            None => f.write_str(BASE),
        }
    }
}

/// The last part of a key of no packages.
const BASE: &str = "base";

/// The text is no cache key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a cache key: LANGUAGE-vMAJOR.MINOR-IMAGE-PACKAGES is expected, for example `python-v0.1-1a2b3c4d-9f86d081884c7d65`", .0.escape_debug())]
pub struct ParseCacheKeyError(String);

impl FromStr for CacheKey {
    type Err = ParseCacheKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = parse(text);
        // What prints otherwise than it was written is a second name for the same thing.
        key.filter(|key| key.to_string() == text)
            .ok_or_else(|| ParseCacheKeyError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<CacheKey> {
    let mut parts = text.split('-');
    let (language, version, image, packages) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (major, minor) = version.strip_prefix('v')?.split_once('.')?;
    Some(CacheKey {
        language: language.parse().ok()?,
        version: KeyVersion {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        },
        image: u32::from_str_radix(image, 16).ok()?,
        packages: match packages {
            BASE => None,
            crc => Some(u64::from_str_radix(crc, 16).ok()?),
        },
    })
    .filter(|_| parts.next().is_none())
}

impl TryFrom<String> for CacheKey {
    type Error = ParseCacheKeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CacheKey> for String {
    fn from(key: CacheKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_run_together_the_same_have_different_sums() {
        assert_ne!(crc(["ab", "c"].into_iter()), crc(["a", "bc"].into_iter()));
        assert_ne!(crc(["", "a"].into_iter()), crc(["a", ""].into_iter()));
    }
}
