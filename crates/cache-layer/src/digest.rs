use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// BLAKE3 of a file's bytes, 32 bytes; 64 lower-case hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ContentDigest(blake3::Hash);

impl ContentDigest {
    /// Reads the whole file and hashes it. Blocks; about a second per GB or two.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        Self::of_reader(File::open(path)?)
    }

    /// Hashes what `reader` gives until its end.
    ///
    /// # Errors
    ///
    /// Reading failed.
    pub fn of_reader(reader: impl Read) -> io::Result<Self> {
        let mut hasher = ContentHasher::new();
        hasher.update_from(reader)?;
        Ok(hasher.finish())
    }
}

impl ContentDigest {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        *self.0.as_bytes()
    }
}

/// Hashes bytes as they go by.
#[derive(Debug, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// All that `reader` gives until its end.
    pub(crate) fn update_from(&mut self, mut reader: impl Read) -> io::Result<()> {
        // BLAKE3 reaches its SIMD width only on chunks this large; `io::copy`'s 8 KiB would halve it.
        let mut buffer = vec![0; 1 << 20];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// How many bytes it has seen.
    pub(crate) fn seen(&self) -> u64 {
        self.0.count()
    }

    /// The digest of all bytes seen.
    #[must_use]
    pub fn finish(&self) -> ContentDigest {
        ContentDigest(self.0.finalize())
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a BLAKE3 digest: 64 lower-case hex digits are expected", .0.escape_debug())]
pub struct ParseContentDigestError(String);

impl FromStr for ContentDigest {
    type Err = ParseContentDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let hash = blake3::Hash::from_hex(text).ok().filter(|_| lower);
        hash.map(Self)
            .ok_or_else(|| ParseContentDigestError(text.to_owned()))
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = ParseContentDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentDigest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the BLAKE3 specification's test vectors: the empty input.
    const EMPTY: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    #[test]
    fn the_digest_of_nothing_is_the_published_test_vector() {
        assert_eq!(
            ContentDigest::of_reader(io::empty()).unwrap().to_string(),
            EMPTY
        );
    }

    #[test]
    fn only_lower_case_hex_of_the_right_length_parses() {
        assert_eq!(EMPTY.parse::<ContentDigest>().unwrap().to_string(), EMPTY);
        for bad in [
            "",
            &EMPTY[1..],
            &EMPTY.to_uppercase(),
            &EMPTY.replace('a', "g"),
        ] {
            bad.parse::<ContentDigest>().unwrap_err();
        }
    }

    #[test]
    fn bytes_in_pieces_and_in_one_go_give_the_same_digest() {
        let mut hasher = ContentHasher::new();
        hasher.update(b"ab");
        hasher.update(b"c");
        assert_eq!(
            hasher.finish(),
            ContentDigest::of_reader(&b"abc"[..]).unwrap()
        );
    }
}
