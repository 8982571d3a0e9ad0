//! Installing a package set in a running guest, and tidying up after it.

use cache_key::PackageSet;
use cache_layer::{BuildError, BuildErrorKind, Phase, ResolvedPackage};

use crate::command::{Command, OutputSink, OutputStream};
use crate::guest_agent::GuestExit;
use crate::host::VmHost;
use crate::installer::{CACHE, Installer, InstallerKind, remedy};
use crate::network;
use crate::output::Output;
use crate::vm::Ready;

/// Where the guest finds the host's CA certificates: in memory, so that they are no part of the snapshot.
const CA_BUNDLE: &str = "/run/snaptier-ca.pem";
/// The list of what is installed is never longer, in bytes. A thousand packages take some tens of KiB.
const LONGEST_LIST: usize = 4 << 20;

/// An installation that failed.
#[derive(Debug)]
pub(crate) struct NotInstalled {
    pub(crate) error: BuildError,
    /// Whether the installer came to its end by itself, so that it can be started again in the same guest.
    pub(crate) guest_is_idle: bool,
}

/// Installs `packages` and says what is installed then.
pub(crate) async fn install(
    vm: &mut Ready,
    host: &VmHost,
    kind: &InstallerKind,
    packages: &PackageSet,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Vec<ResolvedPackage>, NotInstalled> {
    let installer = kind.installer();
    let index = host.indexes.get(&packages.language());
    let mut guest = Guest {
        vm,
        host,
        installer: installer.as_ref(),
        more_env: index.map_or_else(Vec::new, |index| index.environment(packages.language())),
        has_ca_bundle: false,
    };
    guest.hand_in_ca_bundle().await?;
    let mut output = Output::default();
    let argv = installer.install(packages);
    let exit = guest
        .run(argv, &mut |stream, bytes| {
            output.push(stream, bytes, on_line);
            Ok(())
        })
        .await?;
    if !exit.is_success() {
        let said = output.all();
        let remedy = remedy(&said).map(|remedy| format!(": {remedy}"));
        let context = format!("install {packages}{}", remedy.unwrap_or_default());
        return Err(NotInstalled {
            error: BuildError::new(installer.classify(&said), context).with_output(said),
            guest_is_idle: true,
        });
    }
    let list = guest.list_and_empty_the_cache().await?;
    Ok(installer.parse_list(&list))
}

struct Guest<'a> {
    vm: &'a mut Ready,
    host: &'a VmHost,
    installer: &'a dyn Installer,
    more_env: Vec<(&'static str, String)>,
    has_ca_bundle: bool,
}

impl Guest<'_> {
    async fn hand_in_ca_bundle(&mut self) -> Result<(), BuildError> {
        let Some(path) = &self.host.ca_bundle else {
            return Ok(());
        };
        let bundle = tokio::fs::read(path).await.map_err(|error| {
            let context = format!("read the CA bundle `{}`", path.display());
            BuildError::new(BuildErrorKind::Host, context).with_source(error)
        })?;
        let time_out = self.host.time_outs.install;
        self.vm
            .write_file(Phase::Install, CA_BUNDLE, &bundle, time_out)
            .await?;
        self.has_ca_bundle = true;
        Ok(())
    }

    /// Runs a step of the installer.
    async fn run(
        &mut self,
        argv: Vec<String>,
        output: &mut OutputSink<'_>,
    ) -> Result<GuestExit, BuildError> {
        let ca_bundle = self.has_ca_bundle.then_some(CA_BUNDLE);
        let mut env = self.installer.environment(&network::proxy_url(), ca_bundle);
        env.extend(self.more_env.iter().cloned());
        let command = Command {
            argv,
            env,
            input: None,
            output,
        };
        let time_out = self.host.time_outs.install;
        let exit = self
            .vm
            .command(Phase::Install, command, Some(time_out))
            .await?;
        Ok(exit)
    }

    /// The installer's list of what is installed. The one command does both, since a guest takes a tenth of a second
    /// to start another.
    async fn list_and_empty_the_cache(&mut self) -> Result<String, BuildError> {
        const SCRIPT: &str = r#"cache=$1; shift; "$@" && exec rm -rf "$cache""#;
        let script = ["sh", "-c", SCRIPT, "sh", CACHE].map(str::to_owned);
        let argv = script.into_iter().chain(self.installer.list()).collect();
        let (mut stdout, mut output, mut length) = (Vec::new(), Output::default(), 0_usize);
        let exit = self
            .run(argv, &mut |stream, bytes| {
                if stream == OutputStream::Stdout {
                    length = length.saturating_add(bytes.len());
                    let room = LONGEST_LIST.saturating_sub(stdout.len()).min(bytes.len());
                    stdout.extend_from_slice(&bytes[..room]);
                }
                output.push(stream, bytes, &mut |_| {});
                Ok(())
            })
            .await?;
        if exit.is_success() && length <= LONGEST_LIST {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        let (kind, how) = if exit.is_success() {
            // No installer does that: it is the packages' doing.
            (
                BuildErrorKind::Packages,
                format!("it wrote more than {LONGEST_LIST} bytes"),
            )
        } else {
            (
                BuildErrorKind::Internal,
                format!("it ended with {}", exit.code()),
            )
        };
        let context = format!("list what is installed in the guest: {how}");
        Err(BuildError::new(kind, context).with_output(output.all()))
    }
}

impl From<BuildError> for NotInstalled {
    fn from(error: BuildError) -> Self {
        Self {
            error,
            guest_is_idle: false,
        }
    }
}
