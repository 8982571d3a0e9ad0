use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Which package a server is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A Rust package, built here.
    Cargo {
        /// Its name.
        package: &'static str,
        /// Its exact version.
        version: &'static str,
        /// Features, separated by commas.
        features: &'static str,
    },
    /// A Python package, installed into an environment of its own.
    Python {
        /// Its name, with extras.
        package: &'static str,
        /// Its exact version.
        version: &'static str,
    },
}

/// One command of an installation, and what to do if it fails.
pub(super) struct Step {
    pub(super) command: Command,
    pub(super) remedy: &'static str,
}

impl Source {
    pub(super) fn version(&self) -> &'static str {
        match self {
            Self::Cargo { version, .. } | Self::Python { version, .. } => version,
        }
    }

    /// The commands that install it into `dir`, in order.
    pub(super) fn steps(&self, dir: &Path) -> Vec<Step> {
        match self {
            Self::Cargo {
                package,
                version,
                features,
            } => {
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let mut command = Command::new(cargo);
                command
                    .args(["install", "--quiet", "--locked", "--version", version])
                    .args(["--features", features, "--root"])
                    .arg(dir)
                    .arg(package);
                // Flags meant for our own build are none of its business.
                for ours in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
                    command.env_remove(ours);
                }
                vec![Step {
                    command,
                    remedy: "it needs a Rust toolchain, a C compiler and a way to the package registry",
                }]
            }
            Self::Python { package, version } => {
                let mut environment = Command::new("python3");
                environment.args(["-m", "venv", "--clear"]).arg(dir);
                let mut install = Command::new(dir.join("bin/python"));
                install
                    .args(["-m", "pip", "install", "--quiet", "--no-input"])
                    .arg("--disable-pip-version-check")
                    .arg(OsString::from(format!("{package}=={version}")));
                vec![
                    Step {
                        command: environment,
                        remedy: "it needs Python 3.10 or later with venv: install the packages python3 and python3-venv (Debian, Ubuntu)",
                    },
                    Step {
                        command: install,
                        remedy: "it needs a way to the package registry, for pip",
                    },
                ]
            }
        }
    }
}
