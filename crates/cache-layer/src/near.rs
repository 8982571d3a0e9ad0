//! Entries that are almost what is asked for.

use std::collections::BTreeMap;
use std::fmt;

use cache_key::{CacheKey, CanonicalSpec, PackageSet};
use serde::Serialize;

/// An entry that is almost what is asked for: what a miss is explained with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Near {
    /// What makes it another one.
    pub kinship: Kinship,
    /// Its name.
    pub key: CacheKey,
    /// What it is of, by its manifest; `None` where there is none that can be read.
    pub spec: Option<CanonicalSpec>,
}

/// By what an entry differs from what is asked for, in the order of nearness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kinship {
    /// The same packages over another base image.
    OtherBaseImage,
    /// The same packages by another release of snaptier.
    OtherRelease,
    /// Other packages over the same base image.
    OtherPackages,
}

impl Kinship {
    /// What the names tell of `key` and `wanted`; `None` for those that have nothing in common, or everything, and
    /// for snapshots with no packages, which are near to all and to none.
    #[must_use]
    pub fn of(key: &CacheKey, wanted: &CacheKey) -> Option<Self> {
        let is_of_release = key.version() == wanted.version();
        match (key.has_packages_of(wanted), key.has_base_image_of(wanted)) {
            (true, true) if is_of_release => None,
            (true, _) if !is_of_release => Some(Self::OtherRelease),
            (true, _) => Some(Self::OtherBaseImage),
            (false, true) if is_of_release && !key.is_base() && !wanted.is_base() => {
                Some(Self::OtherPackages)
            }
            (false, _) => None,
        }
    }

    /// Its name, as serialised: `other-base-image`, `other-release`, `other-packages`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherBaseImage => "other-base-image",
            Self::OtherRelease => "other-release",
            Self::OtherPackages => "other-packages",
        }
    }
}

impl Near {
    /// How many steps lead from one package set to the other: one for a package in another version, two for one that
    /// only one of them has. `None` where they share no package, in any version.
    #[must_use]
    pub fn distance(one: &PackageSet, other: &PackageSet) -> Option<usize> {
        let (one, other) = (by_name(one), by_name(other));
        let shared = one.iter().filter(|(name, _)| other.contains_key(*name));
        let (mut shared_names, mut changed) = (0, 0);
        for (name, requirement) in shared {
            shared_names += 1;
            changed += usize::from(other.get(name) != Some(requirement));
        }
        let lone = one.len() + other.len() - 2 * shared_names;
        (shared_names > 0).then_some(changed + 2 * lone)
    }
}

/// Requirements by what stands before the version, extras aside: `requests`, `@types/node`.
fn by_name(packages: &PackageSet) -> BTreeMap<&str, &str> {
    let name = |requirement: &'_ str| {
        let at = requirement.find("==").or_else(|| requirement.rfind('@'));
        at.unwrap_or(requirement.len())
    };
    packages
        .iter()
        .map(|requirement| {
            let name = &requirement[..name(requirement)];
            (name.split('[').next().unwrap_or(name), requirement)
        })
        .collect()
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kinship, key, spec } = self;
        match (kinship, spec) {
            (Kinship::OtherBaseImage, Some(spec)) => write!(
                f,
                "there are these packages over another base image, {}: {key}",
                spec.base_image()
            ),
            (Kinship::OtherBaseImage, None) => {
                write!(f, "there are these packages over another base image: {key}")
            }
            (Kinship::OtherRelease, _) => write!(
                f,
                "there are these packages by {} of snaptier: {key}",
                key.version()
            ),
            (Kinship::OtherPackages, Some(spec)) => write!(
                f,
                "the nearest over this base image has `{}`: {key}",
                spec.packages()
            ),
            (Kinship::OtherPackages, None) => {
                write!(f, "there are other packages over this base image: {key}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_key::Language;

    use super::*;

    fn key(text: &str) -> CacheKey {
        text.parse().unwrap()
    }

    fn packages(words: &[&str]) -> PackageSet {
        PackageSet::parse(Language::Python, words).unwrap()
    }

    #[test]
    fn kinship_is_told_from_names_alone() {
        let wanted = key("python-v0.1-1a2b3c4d-9f86d081884c7d65");
        for (other, kinship) in [
            ("python-v0.1-1a2b3c4d-9f86d081884c7d65", None),
            (
                "python-v0.1-00000000-9f86d081884c7d65",
                Some(Kinship::OtherBaseImage),
            ),
            (
                "python-v0.2-1a2b3c4d-9f86d081884c7d65",
                Some(Kinship::OtherRelease),
            ),
            (
                "python-v0.2-00000000-9f86d081884c7d65",
                Some(Kinship::OtherRelease),
            ),
            (
                "python-v0.1-1a2b3c4d-0000000000000000",
                Some(Kinship::OtherPackages),
            ),
            ("python-v0.1-1a2b3c4d-base", None),
            ("python-v0.1-00000000-0000000000000000", None),
            ("javascript-v0.1-1a2b3c4d-9f86d081884c7d65", None),
        ] {
            assert_eq!(Kinship::of(&key(other), &wanted), kinship, "{other}");
        }
    }

    #[test]
    fn a_package_in_another_version_is_nearer_than_one_that_is_missing() {
        let wanted = packages(&["requests==2.32.3", "idna==3.7"]);
        for (other, distance) in [
            (&["requests==2.32.3", "idna==3.7"][..], Some(0)),
            (&["requests==2.32.2", "idna==3.7"], Some(1)),
            (&["requests[socks]==2.32.3", "idna==3.7"], Some(1)),
            (&["requests==2.32.3"], Some(2)),
            (&["requests==2.32.2", "six==1.16.0"], Some(5)),
            (&["six==1.16.0"], None),
            (&[], None),
        ] {
            let other = packages(other);
            assert_eq!(Near::distance(&wanted, &other), distance, "{other}");
        }
        let node = |version: &str| {
            let word = format!("@types/node@{version}");
            PackageSet::parse(Language::Javascript, [word]).unwrap()
        };
        assert_eq!(Near::distance(&node("20.1.0"), &node("20.2.0")), Some(1));
    }
}
