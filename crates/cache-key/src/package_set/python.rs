//! Python requirements: names by PEP 503, versions by PEP 440, extras by PEP 508.
//!
//! The versions are read by `pep440_rs`. The crates that read whole PEP 508 requirements know markers and
//! URLs too, none of which can be pinned, and bring a URL parser and a regex engine along for them; the
//! names and extras that are left of the grammar are read here.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;

use super::PackageError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    name: String,
    extras: BTreeSet<String>,
    version: Version,
}

const FORM: &str = "NAME==VERSION, for example `requests==2.32.3`";

impl super::Requirement for Requirement {
    const FORM: &'static str = FORM;

    fn parse(word: &str) -> Result<Self, PackageError> {
        let malformed = || PackageError::Malformed {
            word: word.to_owned(),
            form: FORM,
        };
        let end = word
            .find(['=', '<', '>', '~', '!', ';', '@'])
            .unwrap_or(word.len());
        let (project, specifier) = word.split_at(end);
        let (name, extras) = parse_project(project.trim()).ok_or_else(malformed)?;
        let version = match specifier.strip_prefix("==").map(str::trim) {
            Some(version) if !version.starts_with('=') && !version.contains([',', ';', '*']) => {
                version
            }
            _ if specifier.starts_with([';', '@']) => return Err(malformed()),
            _ => {
                let right = format!("`{name}==VERSION`, for example `requests==2.32.3`");
                return Err(PackageError::NotPinned {
                    word: word.to_owned(),
                    right,
                });
            }
        };
        let version = Version::from_str(version).map_err(|_| PackageError::BadVersion {
            word: word.to_owned(),
            form: FORM,
        })?;
        Ok(Self {
            name,
            extras,
            version: without_trailing_zeros(version),
        })
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        self.version.to_string()
    }

    fn unite(&mut self, other: Self) {
        self.extras.extend(other.extras);
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.extras.is_empty() {
            let extras: Vec<_> = self.extras.iter().map(String::as_str).collect();
            write!(f, "[{}]", extras.join(","))?;
        }
        write!(f, "=={}", self.version)
    }
}

/// `name` or `name[extra,extra]`.
fn parse_project(text: &str) -> Option<(String, BTreeSet<String>)> {
    let Some((name, rest)) = text.split_once('[') else {
        return Some((normalized(text)?, BTreeSet::new()));
    };
    let extras = rest.strip_suffix(']')?.trim();
    let extras = match extras {
        "" => BTreeSet::new(),
        _ => extras
            .split(',')
            .map(|extra| normalized(extra.trim()))
            .collect::<Option<_>>()?,
    };
    Some((normalized(name.trim())?, extras))
}

/// A name in the one spelling that PEP 503 gives it: lower case, and a `-` for every run of `-`, `_` and
/// `.`. A name is letters and digits with those between them (PEP 508).
fn normalized(name: &str) -> Option<String> {
    let is_separator = |byte: u8| matches!(byte, b'-' | b'_' | b'.');
    let bytes = name.as_bytes();
    let ends_well = |end: Option<&u8>| end.is_some_and(u8::is_ascii_alphanumeric);
    let is_name = ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || is_separator(byte));
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    is_name.then(|| words.collect::<Vec<_>>().join("-").to_ascii_lowercase())
}

/// 1.0 and 1.0.0 are one version (PEP 440); the shortest spelling of it is the canonical one.
fn without_trailing_zeros(version: Version) -> Version {
    let mut release = version.release().to_vec();
    while release.len() > 1 && release.last() == Some(&0) {
        release.pop();
    }
    version.with_release(release)
}
