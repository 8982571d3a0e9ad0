//! Booting an image that somebody brought, once, and asking it what can only be asked of its guest.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cache_key::Language;
use cache_layer::{BuildError, BuildErrorKind, InPhase, Phase, ProgressSink, Subject};
use thiserror::Error;

use crate::command::{Command, OutputStream};
use crate::disk_chain::DiskChain;
use crate::guest_image::GuestImage;
use crate::installer::InstallerKind;
use crate::network::{Allowlist, HOST_ADDRESS, PROXY_PORT};
use crate::overlay;
use crate::vm::Ready;
use crate::vms::Vms;

/// What a guest has that packages can be installed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundInstaller {
    /// The installer, and where it is in the guest.
    pub kind: InstallerKind,
    /// Its version, in its own words.
    pub version: String,
    /// The hosts, as `HOST` or `HOST:PORT`, that it says it fetches from.
    pub registry_hosts: Vec<String>,
}

/// Why an image is of no use.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// This host cannot boot any.
    #[error(transparent)]
    Host(BuildError),
    /// Its guest agent did not answer.
    #[error("boot the image")]
    NoAgent(#[source] BuildError),
    /// Its agent starts no command, or gives no output of one.
    #[error("run a command in the guest")]
    NoCommand(#[source] BuildError),
    /// It lacks something that installing takes.
    #[error("install packages in the guest: {0}")]
    Lacks(Lack),
    /// It does not power off in good order, so that nothing that is installed in it could be kept.
    #[error("power the guest off")]
    NoPowerOff(#[source] BuildError),
}

/// What an image can lack.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Lack {
    /// No installer of this language is known.
    #[error("no installer for {0} is known that could be looked for")]
    Language(Language),
    /// There is no installer.
    #[error("there is no `{0}` in it")]
    Installer(&'static str),
    /// The installer does not run.
    #[error("its installer does not run: {0}")]
    InstallerThatRuns(String),
    /// There is no interpreter.
    #[error("there is no `{0}` on its agent's PATH")]
    Interpreter(&'static str),
    /// There is nowhere to install to.
    #[error("{fault}")]
    Environment {
        /// What is wrong with where packages would go.
        fault: &'static str,
        /// What helps.
        remedy: &'static str,
    },
    /// The network card has no address.
    #[error(
        "it does not reach the proxy at {HOST_ADDRESS}:{PROXY_PORT}, all that its network leads to"
    )]
    Network,
    /// Nobody can say where the installer fetches from.
    #[error("its installer's registries cannot be told")]
    Registries,
}

/// How long the questions may take; a guest without a hypervisor answers in seconds.
const ASKING: Duration = Duration::from_secs(120);
/// More than any honest answer has.
const LONGEST_ANSWER: usize = 64 << 10;

impl Vms {
    /// Boots `image` on a throw-away disk in the folder `scratch`, has it name its installer and run it, and
    /// powers it off. `None` for a language that has no installer.
    ///
    /// `programs` are the guest's paths where the installer may be, besides the usual ones. The guest's network
    /// leads nowhere meanwhile.
    ///
    /// # Errors
    ///
    /// What the image lacks; [`remedy`](InspectError::remedy) says how to give it that.
    pub async fn inspect(
        &self,
        image: &GuestImage,
        scratch: &Path,
        programs: &[String],
        progress: &dyn ProgressSink,
    ) -> Result<Option<FoundInstaller>, InspectError> {
        let host = self.host();
        let dir = tempfile::tempdir_in(scratch).map_err(|error| {
            let context = format!("make a folder in `{}`", scratch.display());
            let error = BuildError::new(BuildErrorKind::Host, context).with_source(error);
            InspectError::Host(error)
        })?;
        let disk = dir.path().join("disk.qcow2");
        let base = &image.base;
        let made = overlay::create(&host.qemu_img, &disk, base.path(), base.format());
        made.await.map_err(InspectError::Host)?;

        let phase = InPhase::begin(progress, Subject::Image(image.language), Phase::Boot);
        let nowhere = Allowlist::default();
        let disk = DiskChain::over_image(&disk, base);
        let booted = self.boot(image, disk, Some(nowhere), None).await;
        let mut vm = booted.map_err(|error| match error.kind() {
            BuildErrorKind::Host => InspectError::Host(error),
            _ => InspectError::NoAgent(error),
        })?;
        let phase = phase.then(Phase::Install);
        phase.note("look for the installer");
        let found = ask(&mut vm, image.language, programs).await?;
        let phase = phase.then(Phase::ShutDown);
        let off = vm.power_off(host.time_outs.shut_down).await;
        off.map_err(|error| InspectError::NoPowerOff(error.into()))?;
        phase.done();
        Ok(found)
    }
}

/// What is asked of a guest about the installer of its language.
struct Question {
    /// Prints a line for each answer; what those are is in the script.
    script: &'static str,
    /// The installer's name.
    installer: &'static str,
    /// The answer that is a path too and goes with the installer's own: what it is of, and its name.
    beside: (&'static str, &'static str),
    /// The installer, by those two paths.
    kind: fn(String, String) -> InstallerKind,
    /// A place to install to that is none, and what helps.
    environment: (&'static str, &'static str),
}

const PYTHON: Question = Question {
    script: include_str!("inspect/python.sh"),
    installer: "uv",
    beside: ("python", "python3"),
    kind: |program, python| InstallerKind::Uv { program, python },
    environment: (
        "its `python3` belongs to the system, which lets no installer write to it",
        "make a virtual environment in the image, and put its bin first on the PATH of the guest agent and of \
         whoever is to find the packages",
    ),
};

const JAVASCRIPT: Question = Question {
    script: include_str!("inspect/javascript.sh"),
    installer: "bun",
    beside: ("folder", "package.json"),
    kind: |program, folder| InstallerKind::Bun { program, folder },
    environment: (
        "there is no `package.json` in /opt/packages, its agent's home or /, to which packages could be added",
        "make one that says {\"private\":true}, and have its folder's node_modules found by whoever is to find the \
         packages",
    ),
};

async fn ask(
    vm: &mut Ready,
    language: Language,
    programs: &[String],
) -> Result<Option<FoundInstaller>, InspectError> {
    let question = match language {
        Language::Python => PYTHON,
        Language::Javascript => JAVASCRIPT,
        Language::Raw => {
            // That it takes a command is all that there is to know.
            run(vm, ":", &[]).await?;
            return Ok(None);
        }
        _ => return Err(InspectError::Lacks(Lack::Language(language))),
    };
    let answer = run(vm, question.script, programs).await?;
    let found = question.read(&answer);
    found.map(Some).map_err(InspectError::Lacks)
}

/// Characters of a version.
const LONGEST_VERSION: usize = 64;

/// Runs a script with the proxy's place and `programs` as its arguments, and gives its output.
async fn run(vm: &mut Ready, script: &str, programs: &[String]) -> Result<String, InspectError> {
    let (address, port) = (HOST_ADDRESS.to_string(), PROXY_PORT.to_string());
    let words = ["sh", "-c", script, "sh", &address, &port].map(str::to_owned);
    let mut said = Vec::new();
    let command = Command {
        argv: words.into_iter().chain(programs.iter().cloned()).collect(),
        env: Vec::new(),
        input: None,
        output: &mut |_: OutputStream, bytes| {
            let room = LONGEST_ANSWER - said.len();
            said.extend_from_slice(&bytes[..room.min(bytes.len())]);
            Ok(())
        },
    };
    let exit = vm.command(Phase::Install, command, Some(ASKING)).await;
    let exit = exit.map_err(|error| InspectError::NoCommand(error.into()))?;
    let said = String::from_utf8_lossy(&said);
    // It is shown, and kept in manifests: nothing of it is to be obeyed by a terminal.
    let is_text = |c: &char| *c == '\n' || !c.is_control();
    let said: String = said.chars().filter(is_text).collect();
    if exit.is_success() {
        return Ok(said);
    }
    let context = "run `/bin/sh` with the guest's ports as its streams: it failed";
    let error = BuildError::new(BuildErrorKind::Internal, context).with_output(said);
    Err(InspectError::NoCommand(error))
}

impl Question {
    /// Reads what the script printed. The guest may have printed anything.
    fn read(&self, answer: &str) -> Result<FoundInstaller, Lack> {
        let mut values = BTreeMap::new();
        let mut registry_hosts = Vec::new();
        for line in answer.lines() {
            match line.split_once(' ') {
                Some(("missing", what)) => return Err(self.missing(what)),
                Some(("host", host)) if Allowlist::new([host]).is_ok() => {
                    registry_hosts.push(host.to_owned());
                }
                Some((key, value)) => _ = values.insert(key, value.trim().to_owned()),
                None => {}
            }
        }
        registry_hosts.sort();
        registry_hosts.dedup();
        let mut path = |key| values.remove(key).filter(|path| path.starts_with('/'));
        let program = path("program").ok_or(Lack::Installer(self.installer))?;
        let (key, name) = self.beside;
        let beside = path(key).ok_or(Lack::Interpreter(name))?;
        let said = values.remove("version").unwrap_or_default();
        // `uv 0.5.1 (1a2b3c4 2024-11-08)`, or the number alone.
        let version = said.split_whitespace().nth(1).unwrap_or(&said);
        let version = version.chars().take(LONGEST_VERSION).collect();
        if registry_hosts.is_empty() {
            return Err(Lack::Registries);
        }
        Ok(FoundInstaller {
            kind: (self.kind)(program, beside),
            version,
            registry_hosts,
        })
    }

    fn missing(&self, what: &str) -> Lack {
        match what.split_once(' ').unwrap_or((what, "")) {
            ("installer-that-runs", why) => Lack::InstallerThatRuns(why.to_owned()),
            ("beside", _) => Lack::Interpreter(self.beside.1),
            ("environment", _) => {
                let (fault, remedy) = self.environment;
                Lack::Environment { fault, remedy }
            }
            ("network", _) => Lack::Network,
            _ => Lack::Installer(self.installer),
        }
    }
}

impl InspectError {
    /// How to give the image what it lacks.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::Host(_) => return None,
            Self::NoAgent(_) => {
                "have qemu-guest-agent start at boot, on the virtio-serial port org.qemu.guest_agent.0; with \
                 console=ttyS0 on the kernel's command line the guest says more"
            }
            Self::NoCommand(_) => {
                "let the guest agent run commands and write files (guest-exec, guest-file-open), and have the \
                 virtio-serial ports named in /dev/virtio-ports, as udev does"
            }
            Self::NoPowerOff(_) => "have the guest power off when its agent calls `shutdown -P`",
            Self::Lacks(lack) => return Some(lack.remedy()),
        };
        Some(remedy.to_owned())
    }

    /// The last that the guest said.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Host(error)
            | Self::NoAgent(error)
            | Self::NoCommand(error)
            | Self::NoPowerOff(error) => error.output(),
            Self::Lacks(_) => None,
        }
    }
}

impl Lack {
    fn remedy(&self) -> String {
        match self {
            Self::Language(_) => {
                "import an image for a language that is known, or for raw, which needs no installer"
                    .to_owned()
            }
            Self::Installer(name) => format!(
                "install {name} in the image, or say with --installer-program where it is: the agent's PATH \
                 does not lead to it"
            ),
            Self::InstallerThatRuns(_) => {
                "install one that runs there, or say with --installer-program where it is"
                    .to_owned()
            }
            Self::Interpreter(name) => {
                format!("install {name}, and have the agent's PATH lead to it")
            }
            Self::Environment { remedy, .. } => (*remedy).to_owned(),
            Self::Network => format!(
                "give the guest's virtio network card the address 10.0.2.15/24 at boot: there is no DHCP, and \
                 nothing but {HOST_ADDRESS}"
            ),
            Self::Registries => {
                "install pip beside the installer, whose configuration it shares".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "program /opt/uv\nversion uv 0.5.1 (1a2b3c4 2024-11-08)\npython /opt/venv/bin/python3\n\
                         host registry.example\nhost files.example:8443\nhost registry.example\n";

    #[test]
    fn what_a_guest_says_of_its_installer_is_read_line_by_line() {
        let found = PYTHON.read(WHOLE).unwrap();
        let kind = InstallerKind::Uv {
            program: "/opt/uv".to_owned(),
            python: "/opt/venv/bin/python3".to_owned(),
        };
        assert_eq!(found.kind, kind);
        assert_eq!(found.version, "0.5.1");
        assert_eq!(
            found.registry_hosts,
            ["files.example:8443", "registry.example"]
        );
    }

    #[test]
    fn a_guest_for_javascript_names_its_folder_and_a_bare_version() {
        let answer = "program /b\nversion 1.4.4\nfolder /opt/packages\nhost registry.example\n";
        let found = JAVASCRIPT.read(answer).unwrap();
        let kind = InstallerKind::Bun {
            program: "/b".to_owned(),
            folder: "/opt/packages".to_owned(),
        };
        assert_eq!((found.kind, found.version.as_str()), (kind, "1.4.4"));
        let lacks = JAVASCRIPT.read("missing environment").unwrap_err();
        assert!(lacks.to_string().contains("package.json"), "{lacks}");
    }

    #[test]
    fn a_guest_that_lacks_something_or_talks_nonsense_is_told_what_and_how_to_help_it() {
        for (answer, lack, word) in [
            ("", Lack::Installer("uv"), "--installer-program"),
            (
                "missing installer",
                Lack::Installer("uv"),
                "--installer-program",
            ),
            (
                "missing installer-that-runs /u: no such libc",
                Lack::InstallerThatRuns("/u: no such libc".to_owned()),
                "--installer-program",
            ),
            (
                "program /u\nmissing beside",
                Lack::Interpreter("python3"),
                "PATH",
            ),
            ("program u\npython /p", Lack::Installer("uv"), "PATH"),
            (
                "missing environment",
                Lack::Environment {
                    fault: PYTHON.environment.0,
                    remedy: PYTHON.environment.1,
                },
                "virtual environment",
            ),
            ("missing network", Lack::Network, "10.0.2.15/24"),
            ("program /u\npython /p\nhost a/b", Lack::Registries, "pip"),
        ] {
            let lacks = PYTHON.read(answer).unwrap_err();
            assert_eq!(lacks, lack);
            let remedy = InspectError::Lacks(lacks).remedy().unwrap();
            assert!(remedy.contains(word), "{remedy}");
        }
    }
}
