//! From an empty overlay to one with packages in it, tried again where that helps.

use std::path::Path;

use cache_key::SnapshotSpec;
use cache_layer::{
    BuildError, BuildErrorKind, InPhase, Phase, ProgressEvent, ProgressSink, ResolvedPackage,
    Retrying, Tool,
};
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::disk_chain::DiskChain;
use crate::guest_image::GuestImage;
use crate::install::{NotInstalled, install};
use crate::installer::InstallerKind;
use crate::network::Allowlist;
use crate::overlay;
use crate::vm::Ready;
use crate::vms::Vms;

/// A disk that packages are to be installed on.
pub(crate) struct Filling<'a> {
    pub(crate) vms: &'a Vms,
    pub(crate) image: &'a GuestImage,
    pub(crate) spec: &'a SnapshotSpec,
    /// The overlay. It is made anew for each machine.
    pub(crate) disk: &'a Path,
    /// When all of it has to be over, retries and all.
    pub(crate) deadline: Deadline,
    pub(crate) progress: &'a dyn ProgressSink,
}

/// What was done.
pub(crate) struct Filled {
    pub(crate) resolved: Vec<ResolvedPackage>,
    pub(crate) tools: Vec<Tool>,
}

impl Filling<'_> {
    /// Boots a machine, installs the packages and powers it off. An installer that failed for a passing reason
    /// is started again in the same machine, if that is well; a machine that failed is replaced.
    pub(crate) async fn fill(&self) -> Result<Filled, BuildError> {
        let retries = self.vms.host().retries;
        let began = Instant::now();
        let mut machine = None;
        let mut done = 0;
        loop {
            let NotInstalled {
                error,
                guest_is_idle,
            } = match self.try_once(&mut machine).await {
                Ok(filled) => return Ok(filled),
                Err(failed) => failed,
            };
            let chance = fastrand::f64();
            let wait = retries.wait(error.kind(), done, began.elapsed(), chance);
            let Some(wait) = wait.filter(|&wait| wait < self.deadline.left()) else {
                return Err(error);
            };
            done += 1;
            let same_vm = match &machine {
                Some(machine) if guest_is_idle => machine.is_well().await,
                _ => false,
            };
            if !same_vm {
                machine = None;
            }
            let retrying = Retrying {
                retry: done,
                of: retries.most,
                wait,
                same_vm,
                reason: &reason(&error),
            };
            let key = self.spec.key();
            tracing::warn!(%key, "the build failed for now: {retrying}");
            let event = ProgressEvent::Retrying(retrying);
            self.progress.report((&key).into(), event);
            tokio::time::sleep(wait).await;
        }
    }

    /// Tries with the machine that there is, or with a new one. What failed leaves it there.
    async fn try_once(&self, machine: &mut Option<Ready>) -> Result<Filled, NotInstalled> {
        let installer = self.installer()?;
        let (host, key) = (self.vms.host(), self.spec.key());
        let vm = match machine {
            Some(vm) => vm,
            None => machine.insert(self.boot().await?),
        };
        let phase = InPhase::begin(self.progress, &key, Phase::Install);
        let mut tell = |line: &str| phase.report(ProgressEvent::InstallerLine(line));
        let resolved = install(vm, host, installer, self.spec.packages(), &mut tell).await?;
        let mut tools = vec![Tool {
            name: "qemu".to_owned(),
            version: vm.qemu_version(),
        }];
        tools.extend(self.image.installer_tool.clone());
        let phase = phase.then(Phase::ShutDown);
        if let Some(vm) = machine.take() {
            let powered_off = vm.power_off(host.time_outs.shut_down).await;
            powered_off.map_err(BuildError::from)?;
        }
        phase.done();
        Ok(Filled { resolved, tools })
    }

    async fn boot(&self) -> Result<Ready, BuildError> {
        let (host, key) = (self.vms.host(), self.spec.key());
        let base = self.spec.base_image();
        overlay::create(&host.qemu_img, self.disk, base.path(), base.format()).await?;
        let phase = InPhase::begin(self.progress, &key, Phase::Boot);
        let disk = DiskChain::over_image(self.disk, base);
        let allowlist = self.allowlist()?;
        let vm = self
            .vms
            .boot(self.image, disk, Some(allowlist), Some(self.deadline))
            .await?;
        if let Some((accelerator, why)) = self.vms.slow() {
            let accelerator = accelerator.to_string();
            phase.report(ProgressEvent::Slow {
                accelerator: &accelerator,
                why: &why.to_string(),
            });
        }
        phase.done();
        Ok(vm)
    }

    fn installer(&self) -> Result<&InstallerKind, BuildError> {
        self.image.installer.as_ref().ok_or_else(|| {
            let context = format!(
                "install {}: the base image has no installer",
                self.spec.packages()
            );
            BuildError::new(BuildErrorKind::Host, context)
        })
    }

    fn allowlist(&self) -> Result<Allowlist, BuildError> {
        let host = self.vms.host();
        let hosts = self.image.registry_hosts.iter().chain(&host.more_hosts);
        let allowlist = Allowlist::new(hosts)
            .map_err(|error| BuildError::new(BuildErrorKind::Host, error.to_string()))?;
        Ok(match host.indexes.get(&self.image.language) {
            Some(index) => allowlist.with_index(index),
            None => allowlist,
        })
    }
}

/// An error, its causes and the last line of its output, in one line.
fn reason(error: &BuildError) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    let said = error
        .output()
        .and_then(|output| output.trim_end().lines().last());
    match said {
        Some(line) => format!("{reason}: {}", line.trim()),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_with_the_last_that_was_said() {
        let error = BuildError::new(BuildErrorKind::Temporary, "install a==1")
            .with_source(std::io::Error::other("no answer"))
            .with_output("Resolving\n  error: unreachable\n\n");
        assert_eq!(
            reason(&error),
            "install a==1: no answer: error: unreachable"
        );
    }
}
