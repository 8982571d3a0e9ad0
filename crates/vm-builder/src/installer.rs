//! What gets packages into a guest, one file per installer.

mod uv;

use cache_key::PackageSet;
use cache_layer::{BuildErrorKind, ResolvedPackage};

pub(crate) use uv::Uv;

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
}

impl InstallerKind {
    pub(crate) fn installer(&self) -> Box<dyn Installer> {
        match self {
            Self::Uv { program, python } => Box::new(Uv {
                program: program.clone(),
                python: python.clone(),
            }),
        }
    }
}

/// What is run in the guest, and how its answer reads.
pub(crate) trait Installer: Send + Sync {
    /// The command that installs `packages`.
    fn install(&self, packages: &PackageSet) -> Vec<String>;

    /// The environment of that command, given the guest's proxy and, where the host has one of its own,
    /// the guest's path of the CA bundle.
    fn environment(&self, proxy: &str, ca_bundle: Option<&str>) -> Vec<(&'static str, String)>;

    /// The command that removes what installing left behind and nobody needs.
    fn clean(&self) -> Vec<String>;

    /// The command that lists what is installed.
    fn list(&self) -> Vec<String>;

    /// Reads that list; a line that is no package is left out.
    fn parse_list(&self, output: &str) -> Vec<ResolvedPackage>;

    /// What the caller can do about an installation that failed with this output.
    fn classify(&self, output: &str) -> BuildErrorKind;
}
