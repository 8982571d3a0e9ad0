//! Installing a package set in a running guest, and tidying up after it.

use std::collections::VecDeque;

use cache_key::PackageSet;
use cache_layer::{BuildError, BuildErrorKind, Phase, ResolvedPackage};

use crate::command::{Command, OutputStream};
use crate::guest_agent::GuestExit;
use crate::host::VmHost;
use crate::installer::{Installer, InstallerKind};
use crate::network;
use crate::vm::Ready;

/// Where the guest finds the host's CA certificates: in memory, so that they are no part of the snapshot.
const CA_BUNDLE: &str = "/run/snaptier-ca.pem";

/// Installs `packages` and says what is installed then.
pub(crate) async fn install(
    vm: &mut Ready,
    host: &VmHost,
    kind: &InstallerKind,
    packages: &PackageSet,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Vec<ResolvedPackage>, BuildError> {
    let installer = kind.installer();
    let mut guest = Guest {
        vm,
        host,
        installer: installer.as_ref(),
        has_ca_bundle: false,
    };
    guest.hand_in_ca_bundle().await?;
    let (exit, output) = guest.run(installer.install(packages), on_line).await?;
    if !exit.is_success() {
        let said = output.all();
        let context = format!("install {packages}");
        return Err(BuildError::new(installer.classify(&said), context).with_output(said));
    }
    let list = guest.must(installer.list()).await?;
    guest.must(installer.clean()).await?;
    Ok(installer.parse_list(&list.stdout()))
}

struct Guest<'a> {
    vm: &'a mut Ready,
    host: &'a VmHost,
    installer: &'a dyn Installer,
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
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(GuestExit, Output), BuildError> {
        let mut output = Output::default();
        let ca_bundle = self.has_ca_bundle.then_some(CA_BUNDLE);
        let command = Command {
            argv,
            env: self.installer.environment(&network::proxy_url(), ca_bundle),
            input: None,
            output: &mut |stream, bytes| {
                output.push(stream, bytes, on_line);
                Ok(())
            },
        };
        let time_out = self.host.time_outs.install;
        let exit = self
            .vm
            .command(Phase::Install, command, Some(time_out))
            .await?;
        Ok((exit, output))
    }

    /// Runs a step that does not fail in a guest that works.
    async fn must(&mut self, argv: Vec<String>) -> Result<Output, BuildError> {
        let what = argv.join(" ");
        let (exit, output) = self.run(argv, &mut |_| {}).await?;
        if exit.is_success() {
            return Ok(output);
        }
        let context = format!("run `{what}` in the guest: it ended with {}", exit.code());
        Err(BuildError::new(BuildErrorKind::Internal, context).with_output(output.all()))
    }
}

/// The lines that a step wrote, the last [`MOST_LINES`] of each stream.
#[derive(Debug, Default)]
struct Output {
    stdout: Lines,
    stderr: Lines,
}

#[derive(Debug, Default)]
struct Lines {
    whole: VecDeque<String>,
    /// What came after the last line feed.
    rest: Vec<u8>,
}

/// A guest that writes without end costs no more than this.
const MOST_LINES: usize = 10_000;
const LONGEST_LINE: usize = 4 << 10;

impl Output {
    fn push(&mut self, stream: OutputStream, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        let lines = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        lines.push(bytes, on_line);
    }

    fn stdout(&self) -> String {
        self.stdout.text()
    }

    fn all(&self) -> String {
        [self.stdout.text(), self.stderr.text()].concat()
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(on_line),
                _ if self.rest.len() < LONGEST_LINE => self.rest.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, on_line: &mut dyn FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.rest).trim_end().to_owned();
        self.rest.clear();
        on_line(&line);
        self.whole.push_back(line);
        if self.whole.len() > MOST_LINES {
            self.whole.pop_front();
        }
    }

    fn text(&self) -> String {
        let rest = String::from_utf8_lossy(&self.rest);
        let whole = self.whole.iter().flat_map(|line| [line.as_str(), "\n"]);
        whole.chain([rest.as_ref()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_as_they_end_and_kept_within_bounds() {
        let mut told = Vec::new();
        let mut lines = Lines::default();
        lines.push(b"one\r\ntw", &mut |line| told.push(line.to_owned()));
        lines.push(b"o\nthree", &mut |line| told.push(line.to_owned()));
        assert_eq!(told, ["one", "two"]);
        assert_eq!(lines.text(), "one\ntwo\nthree");

        lines.push(&vec![b'x'; 1 << 20], &mut |_| {});
        for _ in 0..2 * MOST_LINES {
            lines.push(b"\n", &mut |_| {});
        }
        assert_eq!(lines.text().len(), MOST_LINES);
    }
}
