//! What gets packages into a guest, one file per installer.

mod bun;
mod uv;

use std::collections::BTreeSet;

use cache_key::PackageSet;
use cache_layer::{BuildErrorKind, ResolvedPackage};

use bun::Bun;
use uv::Uv;

/// The installer of a base image and where it is in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstallerKind {
    /// `uv`, which installs Python packages.
    Uv {
        /// The guest's path of `uv`.
        program: String,
        /// The guest's path of the interpreter whose environment the packages go into.
        python: String,
    },
    /// `bun`, which installs JavaScript packages.
    Bun {
        /// The guest's path of `bun`.
        program: String,
        /// The guest's path of the folder with the `package.json` that packages are added to.
        folder: String,
    },
}

impl InstallerKind {
    pub(crate) fn installer(&self) -> Box<dyn Installer> {
        match self {
            Self::Uv { program, python } => Box::new(Uv {
                program: program.clone(),
                python: python.clone(),
            }),
            Self::Bun { program, folder } => Box::new(Bun {
                program: program.clone(),
                folder: folder.clone(),
            }),
        }
    }
}

/// Where an installer keeps what it fetches, until it is done. On the disk and beside the packages, so that they
/// are hard links into it and nothing is written twice.
pub(crate) const CACHE: &str = "/opt/installer-cache";

/// What is run in the guest, and how its answer reads.
pub(crate) trait Installer: Send + Sync {
    /// The command that installs `packages`.
    fn install(&self, packages: &PackageSet) -> Vec<String>;

    /// The environment of that command, given the guest's proxy and, where the host has one of its own,
    /// the guest's path of the CA bundle.
    fn environment(&self, proxy: &str, ca_bundle: Option<&str>) -> Vec<(&'static str, String)>;

    /// The command that lists what is installed.
    fn list(&self) -> Vec<String>;

    /// Reads that list; a line that is no package is left out.
    fn parse_list(&self, output: &str) -> Vec<ResolvedPackage>;

    /// What the caller can do about an installation that failed with this output.
    ///
    /// An output that says nothing known is of [`BuildErrorKind::Packages`]: most failures are, and one that is
    /// tried again in vain costs the caller minutes, while the installer's own words are shown in any case.
    fn classify(&self, output: &str) -> BuildErrorKind;

    /// Whether this output may be of an installation whose proxy refused it a host.
    fn was_refused(&self, output: &str) -> bool;
}

/// What is to be done about an output whose error kind alone does not say it.
pub(crate) fn remedy(output: &str) -> Option<&'static str> {
    const REMEDIES: [(&str, &str); 2] = [
        (
            "No space left on device",
            "the guest's disk is full, ask for fewer packages",
        ),
        (
            "Out of memory: Killed process",
            "the guest's memory is full, give it more (`VmHost::memory_mib`)",
        ),
    ];
    let found = REMEDIES.iter().find(|(sign, _)| output.contains(sign));
    found.map(|(_, remedy)| *remedy)
}

/// The packages of a list that a guest gave, in order and each once. The guest may lie: what no package can be
/// called is left out, and all of it fits a manifest.
fn listed<'a>(packages: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<ResolvedPackage> {
    let is_plausible = |text: &str| {
        // What JSON writes as it is: a list of what it has to escape would be twice as long in a manifest.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        (1..=LONGEST_WORD).contains(&text.len()) && text.bytes().all(is_plain)
    };
    let packages = packages
        .filter(|(name, version)| is_plausible(name) && is_plausible(version))
        .map(|(name, version)| ResolvedPackage {
            name: name.to_owned(),
            version: version.to_owned(),
        });
    let packages: BTreeSet<_> = packages.take(MOST_PACKAGES).collect();
    packages.into_iter().collect()
}

/// Bytes of a name or a version. npm allows 214 for a name.
const LONGEST_WORD: usize = 256;
/// More than anybody installs.
const MOST_PACKAGES: usize = 4000;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use cache_layer::MAX_MANIFEST_BYTES;

    use super::*;

    /// What the installers really said, below a folder for the kind that it is of.
    fn fixtures(installer: &str, kind: &str) -> Vec<(String, String)> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fixtures/installers")
            .join(installer)
            .join(kind);
        let files = dir.read_dir().unwrap().map(|file| file.unwrap().path());
        let texts: Vec<_> = files
            .map(|file| {
                (
                    file.display().to_string(),
                    fs::read_to_string(&file).unwrap(),
                )
            })
            .collect();
        assert!(!texts.is_empty(), "{}", dir.display());
        texts
    }

    fn installers() -> [(&'static str, Box<dyn Installer>); 2] {
        let [program, python, folder] = ["program", "python", "folder"].map(str::to_owned);
        [
            (
                "uv",
                InstallerKind::Uv {
                    program: program.clone(),
                    python,
                }
                .installer(),
            ),
            ("bun", InstallerKind::Bun { program, folder }.installer()),
        ]
    }

    #[test]
    fn what_an_installer_says_is_of_the_kind_that_its_folder_names() {
        for (name, installer) in installers() {
            for (folder, kind) in [
                ("packages", BuildErrorKind::Packages),
                ("temporary", BuildErrorKind::Temporary),
                ("host", BuildErrorKind::Host),
            ] {
                for (file, text) in fixtures(name, folder) {
                    assert_eq!(installer.classify(&text), kind, "{file}\n{text}");
                    assert_eq!(
                        remedy(&text).is_some(),
                        file.ends_with("/disk-full.txt"),
                        "{file}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_guest_without_memory_left_is_told_by_its_kernels_word() {
        let said = "[   21.5] Out of memory: Killed process 212 (uv) total-vm:2048kB\nKilled\n";
        assert!(remedy(said).unwrap().contains("memory_mib"));
        assert_eq!(remedy("Killed\n"), None);
    }

    #[test]
    fn what_nobody_knows_is_a_matter_of_the_packages() {
        for (_, installer) in installers() {
            for text in ["", "\n", "Killed", "error: ", "error: a new message\n"] {
                assert_eq!(installer.classify(text), BuildErrorKind::Packages, "{text}");
            }
        }
    }

    #[test]
    fn a_fixture_names_no_registry() {
        for (name, _) in installers() {
            for kind in ["packages", "temporary", "host"] {
                for (file, text) in fixtures(name, kind) {
                    let lines = text.lines().filter(|line| {
                        ["error: ", "  cause: ", "hint: "]
                            .iter()
                            .any(|start| line.starts_with(start))
                    });
                    for url in lines.flat_map(|line| line.split("://").skip(1)) {
                        let host = url.split(['/', ':', ' ', ')']).next().unwrap();
                        assert!(
                            host.ends_with(".example") || host.ends_with(".invalid"),
                            "{file}: {host}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_list_that_lies_costs_no_more_than_a_manifest_holds() {
        let long = "x".repeat(LONGEST_WORD);
        let names: Vec<_> = (0..3 * MOST_PACKAGES)
            .map(|number| format!("{number:0>LONGEST_WORD$}"))
            .collect();
        let packages = listed(names.iter().map(|name| (name.as_str(), long.as_str())));
        assert_eq!(packages.len(), MOST_PACKAGES);
        let json = serde_json::to_vec(&packages).unwrap();
        assert!((json.len() as u64) < MAX_MANIFEST_BYTES);

        let lies = [
            ("", "1"),
            ("a", ""),
            ("a\u{1b}[2J", "1"),
            ("a b", "1"),
            ("a\\", "1"),
            ("a", "\""),
        ];
        let too_long = "x".repeat(LONGEST_WORD + 1);
        assert_eq!(listed(lies.into_iter().chain([(&*too_long, "1")])), []);
        let twice = [("b", "1"), ("a", "2"), ("b", "1")];
        assert_eq!(listed(twice.into_iter()).len(), 2);
    }
}
