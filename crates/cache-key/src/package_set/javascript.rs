//! JavaScript packages: npm's names, exact semantic versions.

use std::fmt;

use semver::{BuildMetadata, Version};

use super::PackageError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    name: String,
    version: Version,
}

const FORM: &str = "NAME@VERSION, for example `lodash@4.17.21` or `@types/node@20.1.0`";

/// npm's limit on a whole name, scope included.
const LONGEST_NAME: usize = 214;

impl super::Requirement for Requirement {
    const FORM: &'static str = FORM;

    fn parse(word: &str) -> Result<Self, PackageError> {
        let malformed = || PackageError::Malformed {
            word: word.to_owned(),
            form: FORM,
        };
        // The `@` of a scope is no separator.
        let at = word
            .char_indices()
            .skip(1)
            .find(|&(_, c)| c == '@')
            .map_or(word.len(), |(at, _)| at);
        let (name, rest) = word.split_at(at);
        if !is_name(name) {
            return Err(malformed());
        }
        let not_pinned = || {
            let right = format!("`{name}@VERSION`, for example `lodash@4.17.21`");
            PackageError::NotPinned {
                word: word.to_owned(),
                right,
            }
        };
        let text = rest.strip_prefix('@').ok_or_else(not_pinned)?;
        if text.contains([':', '/']) {
            return Err(malformed());
        }
        match Version::parse(text) {
            // The registry keeps one version whatever its build metadata.
            Ok(version) => Ok(Self {
                name: name.to_owned(),
                version: Version {
                    build: BuildMetadata::EMPTY,
                    ..version
                },
            }),
            Err(_) if is_loose(text) => Err(not_pinned()),
            Err(_) => Err(PackageError::BadVersion {
                word: word.to_owned(),
                form: FORM,
            }),
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        self.version.to_string()
    }

    fn unite(&mut self, _other: Self) {}
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// Whether a version says more or less than one: a range, a tag, a part of a version.
fn is_loose(text: &str) -> bool {
    text.is_empty()
        || text.starts_with(['^', '~', '>', '<', '=', '*', 'v'])
        || text.contains([' ', '|', '*', 'x'])
        || text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        || text
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
}

/// A name that npm can install: `name` or `@scope/name`. Capitals are part of a name; packages from before
/// npm refused them for new ones still carry them.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '_', '-'])
            && part.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~')
            })
    };
    let parts_are_well = match name.strip_prefix('@') {
        Some(scoped) => scoped
            .split_once('/')
            .is_some_and(|(scope, name)| part(scope) && part(name)),
        None => part(name),
    };
    parts_are_well && name.len() <= LONGEST_NAME
}
