use serde::{Deserialize, Serialize};

use crate::{BaseImage, CacheKey, ImageDigest, Language, PackageError, PackageSet};

/// What is asked for: packages on a base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSpec {
    base_image: BaseImage,
    packages: PackageSet,
}

/// A spec without what differs from host to host. It goes along in every manifest, and a snapshot is the
/// one asked for only if the two are equal.
///
/// As JSON: `{"language": "python", "base_image": "<64 hex digits>", "packages": ["requests==2.32.3"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Fields", try_from = "Fields")]
pub struct CanonicalSpec {
    base_image: ImageDigest,
    packages: PackageSet,
}

impl SnapshotSpec {
    /// The spec of `packages`, which may be none, on `base_image`.
    #[must_use]
    pub fn new(base_image: BaseImage, packages: PackageSet) -> Self {
        Self {
            base_image,
            packages,
        }
    }

    /// The language of the packages.
    #[must_use]
    pub fn language(&self) -> Language {
        self.packages.language()
    }

    /// The disk to build on, and where this host has it.
    #[must_use]
    pub fn base_image(&self) -> &BaseImage {
        &self.base_image
    }

    /// What is to be installed.
    #[must_use]
    pub fn packages(&self) -> &PackageSet {
        &self.packages
    }

    /// The spec without what differs from host to host.
    #[must_use]
    pub fn canonical(&self) -> CanonicalSpec {
        CanonicalSpec {
            base_image: self.base_image.digest(),
            packages: self.packages.clone(),
        }
    }

    /// The spec's name.
    #[must_use]
    pub fn key(&self) -> CacheKey {
        CacheKey::new(self.base_image.digest(), &self.packages)
    }
}

impl CanonicalSpec {
    /// The language of the packages.
    #[must_use]
    pub fn language(&self) -> Language {
        self.packages.language()
    }

    /// What the base image is.
    #[must_use]
    pub fn base_image(&self) -> ImageDigest {
        self.base_image
    }

    /// What is installed.
    #[must_use]
    pub fn packages(&self) -> &PackageSet {
        &self.packages
    }

    /// The spec's name.
    #[must_use]
    pub fn key(&self) -> CacheKey {
        CacheKey::new(self.base_image, &self.packages)
    }
}

#[derive(Serialize, Deserialize)]
struct Fields {
    language: Language,
    base_image: ImageDigest,
    packages: Vec<String>,
}

impl From<CanonicalSpec> for Fields {
    fn from(spec: CanonicalSpec) -> Self {
        let packages = spec.packages.iter().map(str::to_owned).collect();
        Self {
            language: spec.language(),
            base_image: spec.base_image,
            packages,
        }
    }
}

impl TryFrom<Fields> for CanonicalSpec {
    type Error = PackageError;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let packages = PackageSet::parse(fields.language, fields.packages)?;
        Ok(Self {
            base_image: fields.base_image,
            packages,
        })
    }
}
