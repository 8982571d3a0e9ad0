use std::fmt;
use std::str::FromStr;

use cache_key::ImageDigest;
use thiserror::Error;

/// An image named by the beginning of its disk's digest: 8 to 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageChoice(String);

/// The text is no beginning of a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{}` names no image: write 8 to 64 lower-case hex digits of a digest, as `snaptier image ls` lists them", .0.escape_debug()
)]
pub struct ParseImageChoiceError(String);

impl ImageChoice {
    pub(crate) fn matches(&self, digest: ImageDigest) -> bool {
        digest.to_string().starts_with(&self.0)
    }
}

impl FromStr for ImageChoice {
    type Err = ParseImageChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if (8..=64).contains(&text.len()) && text.bytes().all(is_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseImageChoiceError(text.to_owned()))
        }
    }
}

impl fmt::Display for ImageChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_the_first_digits_of_its_digest() {
        let digest = ImageDigest::from_bytes([0xab; 32]);
        for (text, matches) in [
            ("abababab", true),
            (&"ab".repeat(32), true),
            ("abababac", false),
        ] {
            assert_eq!(
                text.parse::<ImageChoice>().unwrap().matches(digest),
                matches
            );
        }
        for bad in [
            "",
            "abababa",
            "ABABABAB",
            "python-abababab",
            &"ab".repeat(33),
        ] {
            bad.parse::<ImageChoice>().unwrap_err();
        }
    }
}
