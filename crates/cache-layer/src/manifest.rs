use std::fmt;
use std::io::{self, Read};

use cache_key::{CacheKey, CanonicalSpec};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{ContentDigest, ContentHasher};

/// The manifest format that this crate writes. It reads this one and every older one.
///
/// A field that may be absent, and that a reader may pass over, is added without a new version; whatever
/// changes what the others mean needs one.
pub const MANIFEST_FORMAT_VERSION: u32 = 1;

/// A manifest's JSON is never longer than this, in bytes; a longer one is refused unread.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// What a snapshot is, how it came to be, and the proof that its bytes are the right ones.
///
/// A manifest that exists is consistent: its key is that of its spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Manifest {
    format_version: u32,
    key: CacheKey,
    spec: CanonicalSpec,
    disk: Disk,
    provenance: Provenance,
}

/// The qcow2 file that the manifest goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The file's length in bytes (its apparent size, holes included).
    pub file_bytes: u64,
    /// The size of the disk that a guest sees, in bytes.
    pub virtual_bytes: u64,
    /// BLAKE3 of the file's bytes, backing name and all.
    pub blake3: ContentDigest,
}

/// When and by what the snapshot was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// When the build ended.
    pub built_at: Timestamp,
    /// The program that built it, with its version: `snaptier 0.1.0`.
    pub built_by: String,
    /// The packages that are installed, dependencies included, as the installer lists them.
    #[serde(default)]
    pub resolved: Vec<ResolvedPackage>,
    /// The programs that took part, with their versions: QEMU, the installer. Empty where it is not known,
    /// and in manifests of release 0.1.0 and before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
}

/// A program that took part in a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The program: `qemu`, `uv`, `npm`.
    pub name: String,
    /// The version by its own account.
    pub version: String,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// One installed package, in the installer's own spelling.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResolvedPackage {
    /// The package's name.
    pub name: String,
    /// Its exact version.
    pub version: String,
}

impl Disk {
    /// That of a file which `file` reads from its start. Blocks; about a second per GB or two.
    ///
    /// # Errors
    ///
    /// Reading failed.
    pub fn of_reader(file: impl Read, virtual_bytes: u64) -> io::Result<Self> {
        let mut hasher = ContentHasher::new();
        hasher.update_from(file)?;
        Ok(Self {
            file_bytes: hasher.seen(),
            virtual_bytes,
            blake3: hasher.finish(),
        })
    }
}

impl Provenance {
    /// That of a snapshot of which no more is known.
    #[must_use]
    pub fn new(built_at: Timestamp, built_by: impl Into<String>) -> Self {
        Self {
            built_at,
            built_by: built_by.into(),
            resolved: Vec::new(),
            tools: Vec::new(),
        }
    }
}

impl Manifest {
    /// The manifest of a snapshot of `spec`.
    #[must_use]
    pub fn new(spec: CanonicalSpec, disk: Disk, provenance: Provenance) -> Self {
        let key = spec.key();
        Self {
            format_version: MANIFEST_FORMAT_VERSION,
            key,
            spec,
            disk,
            provenance,
        }
    }

    /// Reads a manifest from JSON.
    ///
    /// # Errors
    ///
    /// See [`ManifestError`].
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        /// Enough of any version's manifest to tell its version.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }

        if json.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong {
                bytes: json.len() as u64,
            });
        }
        let Version { format_version } = serde_json::from_slice(json)?;
        if format_version > MANIFEST_FORMAT_VERSION {
            return Err(ManifestError::Newer { format_version });
        }
        Ok(serde_json::from_slice(json)?)
    }

    /// The manifest as indented JSON with a line feed at its end.
    #[must_use]
    #[expect(
        clippy::missing_panics_doc,
        reason = "a manifest can always be written"
    )]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self)
            .expect("a manifest has string keys and no failing field");
        json.push(b'\n');
        json
    }

    /// The same snapshot with other bytes: what a tier that changes the backing name returns.
    #[must_use]
    pub fn with_disk(&self, disk: Disk) -> Self {
        Self {
            disk,
            ..self.clone()
        }
    }

    /// The format version that the manifest was written in; at most [`MANIFEST_FORMAT_VERSION`].
    #[must_use]
    pub fn format_version(&self) -> u32 {
        self.format_version
    }

    /// The snapshot's name.
    #[must_use]
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// The whole of what was asked for.
    #[must_use]
    pub fn spec(&self) -> &CanonicalSpec {
        &self.spec
    }

    /// The qcow2 file.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// When and by what it was built.
    #[must_use]
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }
}

/// Why bytes are not a manifest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Written by a newer release in a format that this one does not know.
    #[error(
        "manifest format {format_version} is newer than {MANIFEST_FORMAT_VERSION}, the newest known here: upgrade snaptier"
    )]
    Newer {
        /// The version it says.
        format_version: u32,
    },
    /// Longer than [`MAX_MANIFEST_BYTES`].
    #[error("manifest of {bytes} bytes is longer than the {MAX_MANIFEST_BYTES} allowed")]
    TooLong {
        /// Its length.
        bytes: u64,
    },
    /// Not JSON, or not a manifest's JSON.
    #[error("not a manifest")]
    Malformed(#[from] serde_json::Error),
    /// It could not be read.
    #[error("read the manifest")]
    Io(#[from] io::Error),
}

/// A manifest as it stands in the file, before its parts are held against each other.
#[derive(Deserialize)]
struct Fields {
    format_version: u32,
    key: CacheKey,
    spec: CanonicalSpec,
    disk: Disk,
    provenance: Provenance,
}

impl TryFrom<Fields> for Manifest {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields {
            format_version,
            key,
            spec,
            disk,
            provenance,
        } = fields;
        // The version in a key moves with releases; what it stands for in an old manifest does not.
        if spec.key().in_version(key.version()) != key {
            return Err(format!("key {key} is not that of the spec, {}", spec.key()));
        }
        Ok(Self {
            format_version,
            key,
            spec,
            disk,
            provenance,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn json() -> Value {
        json!({
            "format_version": 1,
            "key": "python-v0.1-1a2b3c4d-base",
            "spec": {
                "language": "python",
                "base_image": format!("1a2b3c4d{}", "0".repeat(56)),
                "packages": [],
            },
            "disk": { "file_bytes": 196_616, "virtual_bytes": 8_589_934_592_u64, "blake3": "0".repeat(64) },
            "provenance": {
                "built_at": "2026-01-02T03:04:05Z",
                "built_by": "snaptier 0.1.0",
                "resolved": [{ "name": "idna", "version": "3.7" }],
                "tools": [{ "name": "qemu", "version": "7.2.22" }, { "name": "uv", "version": "0.13.9" }],
            },
        })
    }

    fn parse(json: &Value) -> Result<Manifest, ManifestError> {
        Manifest::from_json(json.to_string().as_bytes())
    }

    #[test]
    fn a_manifest_reads_back_as_itself() {
        let manifest = parse(&json()).unwrap();
        let written = manifest.to_json();
        assert_eq!(Manifest::from_json(&written).unwrap(), manifest);
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), json());
    }

    #[test]
    fn a_manifest_of_another_release_is_read_and_of_another_spec_is_not() {
        let mut old = json();
        old["key"] = "python-v0.0-1a2b3c4d-base".into();
        parse(&old).unwrap();
        let mut other = json();
        other["key"] = "python-v0.1-ffffffff-base".into();
        assert!(matches!(parse(&other), Err(ManifestError::Malformed(_))));
    }

    #[test]
    fn a_manifest_from_before_tools_were_told_reads_and_is_written_as_it_was() {
        let mut old = json();
        let provenance = old["provenance"].as_object_mut().unwrap();
        provenance.remove("tools");
        let manifest = parse(&old).unwrap();
        assert_eq!(manifest.provenance().tools, []);
        let written: Value = serde_json::from_slice(&manifest.to_json()).unwrap();
        assert_eq!(written, old);
    }

    #[test]
    fn a_manifest_of_a_newer_format_says_so_whatever_else_is_in_it() {
        let newer = parse(&json!({ "format_version": 2, "disks": [] })).unwrap_err();
        assert!(
            matches!(newer, ManifestError::Newer { format_version: 2 }),
            "{newer}"
        );
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for bytes in [
            &b""[..],
            b"{}",
            b"[]",
            b"\xff\xfe",
            b"{\"format_version\":\"1\"}",
        ] {
            assert!(
                matches!(Manifest::from_json(bytes), Err(ManifestError::Malformed(_))),
                "{bytes:?}"
            );
        }
        let long = vec![b' '; usize::try_from(MAX_MANIFEST_BYTES).unwrap() + 1];
        assert!(matches!(
            Manifest::from_json(&long),
            Err(ManifestError::TooLong { .. })
        ));
    }
}
