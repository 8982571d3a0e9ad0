//! Canonical, exactly pinned package sets, one file per language's way of writing them.

mod javascript;
mod python;

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::Language;

/// The packages asked for: canonical, sorted, exactly pinned, and each only once.
///
/// Two requests for the same packages are one set, whatever the order, the case or the spelling of the
/// names in which they were written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageSet {
    language: Language,
    /// Sorted, each the canonical text of one requirement.
    requirements: Vec<String>,
}

/// One package, read from a word and made canonical.
trait Requirement: fmt::Display + Sized {
    /// The right form, with an example.
    const FORM: &'static str;

    /// Reads a word that has no white space around it and no control characters in it.
    fn parse(word: &str) -> Result<Self, PackageError>;

    /// What two requirements for one package have in common.
    fn name(&self) -> &str;

    /// The exact version.
    fn version(&self) -> String;

    /// Takes over from `other`, a requirement for the same package and version, what it asks for beyond.
    fn unite(&mut self, other: Self);
}

impl PackageSet {
    /// The set of the packages written in `words`, in the form that `language` writes them:
    /// `name==version` or `name[extra]==version` for Python, `name@version` or `@scope/name@version` for
    /// JavaScript.
    ///
    /// # Errors
    ///
    /// Names the first word that is no exactly pinned package, and shows the right form.
    pub fn parse(
        language: Language,
        words: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, PackageError> {
        let requirements = match language {
            Language::Python => canonical::<python::Requirement>(words)?,
            Language::Javascript => canonical::<javascript::Requirement>(words)?,
            Language::Raw => match words.into_iter().next() {
                Some(word) => return Err(PackageError::NoPackageManager(word.as_ref().to_owned())),
                None => Vec::new(),
            },
        };
        Ok(Self {
            language,
            requirements,
        })
    }

    /// The set of no packages.
    #[must_use]
    pub const fn empty(language: Language) -> Self {
        Self {
            language,
            requirements: Vec::new(),
        }
    }

    /// The language that the packages are for.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    /// Whether no packages are asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements, sorted, each in its canonical text.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.requirements.iter().map(String::as_str)
    }
}

/// The canonical texts, separated by spaces.
impl fmt::Display for PackageSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.requirements.join(" "))
    }
}

fn canonical<R: Requirement>(
    words: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<String>, PackageError> {
    let mut by_name = BTreeMap::<String, R>::new();
    for word in words {
        let word = word.as_ref().trim();
        if word.chars().any(char::is_control) {
            return Err(PackageError::Malformed {
                word: word.to_owned(),
                form: R::FORM,
            });
        }
        let requirement = R::parse(word)?;
        match by_name.get_mut(requirement.name()) {
            None => {
                by_name.insert(requirement.name().to_owned(), requirement);
            }
            Some(first) if first.version() == requirement.version() => first.unite(requirement),
            Some(first) => {
                return Err(PackageError::TwoVersions {
                    name: first.name().to_owned(),
                    first: first.version(),
                    second: requirement.version(),
                });
            }
        }
    }
    Ok(by_name.values().map(ToString::to_string).collect())
}

/// A word that is no exactly pinned package. Each message is one line that names the word and shows the
/// right form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A package with no version, or with one that does not say exactly which.
    #[error("package `{}` is not pinned to one version: write {}", .word.escape_debug(), .right.escape_debug())]
    NotPinned {
        /// The word.
        word: String,
        /// The word as it could be, with a placeholder for what is not known.
        right: String,
    },
    /// A version that is none.
    #[error("package `{}` has no valid version: write {form}", .word.escape_debug())]
    BadVersion {
        /// The word.
        word: String,
        /// The right form.
        form: &'static str,
    },
    /// Something else than a package.
    #[error("`{}` is not a package: write {form}", .word.escape_debug())]
    Malformed {
        /// The word.
        word: String,
        /// The right form.
        form: &'static str,
    },
    /// One package asked for in two versions.
    #[error("package `{name}` is asked for in two versions, {first} and {second}: give one")]
    TwoVersions {
        /// The package.
        name: String,
        /// The version given first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A package for a language that has none.
    #[error("package `{}` cannot be installed: raw has no package manager, give no packages", .0.escape_debug())]
    NoPackageManager(String),
}
