use std::path::Path;

use cache_key::{ImageDigest, Language};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ImageError;
use crate::error::ManifestFault;

/// The `image.json` format that this crate writes. It reads this one and every older one.
pub const IMAGE_FORMAT_VERSION: u32 = 1;

/// What `image.json` says of its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageManifest {
    /// At most [`IMAGE_FORMAT_VERSION`].
    pub format_version: u32,
    /// BLAKE3 of `disk.qcow2`.
    pub digest: ImageDigest,
    /// The language that the image is for.
    pub language: Language,
    /// The processor architecture, as in `uname -m`.
    pub architecture: String,
    /// The kernel's command line.
    pub append: String,
    /// What installs packages; null when nothing does.
    pub installer: Option<Installer>,
    /// The hosts, as `HOST` or `HOST:PORT`, that the installer was configured to fetch from when the image
    /// was made; it was asked.
    pub registry_hosts: Vec<String>,
    /// Names the recipe that the image was made by.
    pub recipe: String,
    /// The length of `disk.qcow2` in bytes.
    pub disk_bytes: u64,
    /// When the image was made.
    pub created_at: Timestamp,
}

/// What installs packages in the guest, and where it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Installer {
    /// `uv`, for Python.
    Uv {
        /// The path of `uv`.
        program: String,
        /// The interpreter whose environment packages go into.
        python: String,
        /// The version of `uv`.
        version: String,
    },
    /// `bun`, for JavaScript.
    Bun {
        /// The path of `bun`.
        program: String,
        /// The folder with the `package.json` that packages are added to.
        folder: String,
        /// The version of `bun`.
        version: String,
    },
}

impl ImageManifest {
    pub(crate) fn read(path: &Path) -> Result<Self, ImageError> {
        let fault = |source| ImageError::Manifest {
            path: path.to_owned(),
            source,
        };
        let json = std::fs::read(path).map_err(|error| fault(ManifestFault::Io(error)))?;
        Self::from_json(&json).map_err(fault)
    }

    fn from_json(json: &[u8]) -> Result<Self, ManifestFault> {
        /// Enough of any version's manifest to tell its version.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }

        let Version { format_version } =
            serde_json::from_slice(json).map_err(ManifestFault::Malformed)?;
        if format_version > IMAGE_FORMAT_VERSION {
            return Err(ManifestFault::Newer(format_version));
        }
        serde_json::from_slice(json).map_err(ManifestFault::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_a_newer_format_says_so_whatever_else_is_in_it() {
        let newer = ImageManifest::from_json(br#"{"format_version": 2, "disks": []}"#).unwrap_err();
        assert!(matches!(newer, ManifestFault::Newer(2)), "{newer}");
        for nonsense in [&b""[..], b"{}", b"[1]", br#"{"format_version": 1}"#] {
            let fault = ImageManifest::from_json(nonsense).unwrap_err();
            assert!(matches!(fault, ManifestFault::Malformed(_)), "{fault}");
        }
    }

    #[test]
    fn an_installer_is_told_by_its_kind() {
        for json in [
            r#"{"kind":"uv","program":"/u","python":"/p","version":"1"}"#,
            r#"{"kind":"bun","program":"/b","folder":"/f","version":"1"}"#,
        ] {
            let installer: Installer = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&installer).unwrap(), json);
        }
    }
}
