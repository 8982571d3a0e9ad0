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
    let script = script(installer.as_ref(), packages)?;
    let (mut list, mut output, mut length) = (Vec::new(), Output::default(), 0_usize);
    guest.vm.refused().forget();
    let exit = guest
        .run(script, &mut |stream, bytes| {
            match stream {
                OutputStream::Stdout => {
                    length = length.saturating_add(bytes.len());
                    let room = LONGEST_LIST.saturating_sub(list.len()).min(bytes.len());
                    list.extend_from_slice(&bytes[..room]);
                }
                OutputStream::Stderr => output.push(bytes, on_line),
            }
            Ok(())
        })
        .await?;
    let said = output.text();
    if exit.code() == NOT_LISTED {
        let context = "list what is installed in the guest";
        let error = BuildError::new(BuildErrorKind::Internal, context);
        return Err(error.with_output(said).into());
    }
    if !exit.is_success() {
        let error = guest.failure(packages, said);
        return Err(NotInstalled {
            error,
            guest_is_idle: true,
        });
    }
    if length > LONGEST_LIST {
        // No installer does that: it is the packages' doing.
        let context =
            format!("list what is installed in the guest: more than {LONGEST_LIST} bytes");
        return Err(BuildError::new(BuildErrorKind::Packages, context).into());
    }
    Ok(installer.parse_list(&String::from_utf8_lossy(&list)))
}

/// How the script ends when all is installed and cannot be listed. No installer ends like this.
const NOT_LISTED: u8 = 97;

/// Installs, saying so on standard error, then writes the list of what is installed to standard output, and removes
/// what nobody needs any more. All in one, since it takes a guest a tenth of a second to be told the next thing.
fn script(installer: &dyn Installer, packages: &PackageSet) -> Result<Vec<String>, BuildError> {
    let quoted = |argv: &[String]| {
        let words = argv.iter().map(String::as_str);
        shlex::try_join(words).map_err(|error| {
            let context = format!("install {packages}");
            BuildError::new(BuildErrorKind::Internal, context).with_source(error)
        })
    };
    let (install, list) = (
        quoted(&installer.install(packages))?,
        quoted(&installer.list())?,
    );
    let script = format!(
        "{{ {install}; }} >&2 || exit\n{{ {list} && rm -rf {CACHE}; }} || exit {NOT_LISTED}"
    );
    Ok(["sh".to_owned(), "-c".to_owned(), script].into())
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

    /// The error of an installer that came to its end and said this.
    fn failure(&self, packages: &PackageSet, said: String) -> BuildError {
        let refused = self.vm.refused().hosts();
        if self.installer.was_refused(&said) && !refused.is_empty() {
            let hosts = refused.join("`, `");
            let context = format!(
                "install {packages}: hosts were asked for that are not allowed, `{hosts}`: if they are to be, allow them (`VmHost::more_hosts`, `--allow-host`)"
            );
            return BuildError::new(BuildErrorKind::Host, context).with_output(said);
        }
        let kind = self.installer.classify(&said);
        // What the kernel says explains what it did to the installer; the installer's own words are the last.
        let said = [self.vm.console().as_str(), &said].join("\n");
        let said = said.trim_start();
        let remedy = remedy(said).map(|remedy| format!(": {remedy}"));
        let context = format!("install {packages}{}", remedy.unwrap_or_default());
        BuildError::new(kind, context).with_output(said)
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
}

impl From<BuildError> for NotInstalled {
    fn from(error: BuildError) -> Self {
        Self {
            error,
            guest_is_idle: false,
        }
    }
}
