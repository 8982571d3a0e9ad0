use std::path::Path;

use cache_key::{ImageDigest, Language};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ImageError;
use crate::error::ManifestFault;

/// The `image.json` format that this crate writes. It reads this one and every older one.
pub const IMAGE_FORMAT_VERSION: u32 = 2;

/// What `image.json` says of its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageManifest {
    /// [`IMAGE_FORMAT_VERSION`]: what an older release wrote is brought up to it when it is read.
    pub format_version: u32,
    /// BLAKE3 of `disk.qcow2`.
    pub digest: ImageDigest,
    /// The language that the image is for.
    pub language: Language,
    /// The processor architecture, as in `uname -m`.
    pub architecture: String,
    /// How it is booted.
    pub boot: Boot,
    /// What installs packages; null when nothing does.
    pub installer: Option<Installer>,
    /// The hosts, as `HOST` or `HOST:PORT`, that the installer was configured to fetch from when the image
    /// was made; it was asked.
    pub registry_hosts: Vec<String>,
    /// Where it came from.
    pub origin: Origin,
    /// The length of `disk.qcow2` in bytes.
    pub disk_bytes: u64,
    /// When the image was made.
    pub created_at: Timestamp,
}

/// How an image is booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Boot {
    /// By the kernel that lies beside the disk.
    Kernel {
        /// Whether an initial RAM disk lies there too.
        initrd: bool,
        /// The kernel's command line.
        append: String,
    },
    /// By the machine's firmware and a boot loader on the disk.
    Firmware,
}

/// Where an image came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// It was made from packages.
    Made {
        /// Names the recipe.
        recipe: String,
    },
    /// Somebody brought it.
    Imported {
        /// The disk's file, as it was named then.
        file: String,
    },
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
        let mut json = serde_json::from_slice(json).map_err(ManifestFault::Malformed)?;
        if format_version < 2 {
            bring_up_from_1(&mut json);
        }
        serde_json::from_value(json).map_err(ManifestFault::Malformed)
    }
}

/// In format 1 every image was made by a recipe, and booted by its own kernel and initial RAM disk.
fn bring_up_from_1(json: &mut Value) {
    let Value::Object(fields) = json else { return };
    let append = fields.remove("append").unwrap_or_default();
    let recipe = fields.remove("recipe").unwrap_or_default();
    fields.insert("format_version".to_owned(), IMAGE_FORMAT_VERSION.into());
    let boot = json!({ "kind": "kernel", "initrd": true, "append": append });
    fields.insert("boot".to_owned(), boot);
    let origin = json!({ "kind": "made", "recipe": recipe });
    fields.insert("origin".to_owned(), origin);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_a_newer_format_says_so_whatever_else_is_in_it() {
        let newer = ImageManifest::from_json(br#"{"format_version": 3, "disks": []}"#).unwrap_err();
        assert!(matches!(newer, ManifestFault::Newer(3)), "{newer}");
        for nonsense in [
            &b""[..],
            b"{}",
            b"[1]",
            br#"{"format_version": 1}"#,
            br#"{"format_version": 2}"#,
        ] {
            let fault = ImageManifest::from_json(nonsense).unwrap_err();
            assert!(matches!(fault, ManifestFault::Malformed(_)), "{fault}");
        }
    }

    #[test]
    fn an_image_of_the_first_format_is_read_as_one_that_a_recipe_made() {
        let json = include_bytes!("../../../fixtures/images/v1.json");
        let manifest = ImageManifest::from_json(json).unwrap();
        let append = "console=ttyS0 quiet panic=-1".to_owned();
        let initrd = true;
        assert_eq!(manifest.boot, Boot::Kernel { initrd, append });
        let recipe = "0436b810fbe501ba".to_owned();
        assert_eq!(manifest.origin, Origin::Made { recipe });
        let rewritten = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(ImageManifest::from_json(&rewritten).unwrap(), manifest);
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
