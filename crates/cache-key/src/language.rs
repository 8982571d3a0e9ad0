use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The language that a disk is for; it decides how packages are named and what installs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Language {
    /// Python, with packages from a Python package index: `requests==2.32.3`.
    Python,
    /// JavaScript, with packages from an npm registry: `lodash@4.17.21`.
    Javascript,
    /// A bare system with no package manager.
    Raw,
}

impl Language {
    /// Every language there is.
    pub const ALL: [Self; 3] = [Self::Python, Self::Javascript, Self::Raw];

    /// Its name, as it stands in keys and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is the name of no language.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a language: write python, javascript or raw", .0.escape_debug())]
pub struct ParseLanguageError(String);

impl FromStr for Language {
    type Err = ParseLanguageError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL
            .into_iter()
            .find(|language| language.as_str() == word);
        known.ok_or_else(|| ParseLanguageError(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_parses_from_its_own_name_and_the_error_lists_them_all() {
        let error = "Python".parse::<Language>().unwrap_err().to_string();
        for language in Language::ALL {
            assert_eq!(language.to_string().parse(), Ok(language));
            assert!(error.contains(language.as_str()), "{error}");
        }
    }
}
