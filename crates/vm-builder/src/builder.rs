use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cache_key::SnapshotSpec;
use cache_layer::{
    BuildError, BuildErrorKind, InPhase, Manifest, NoProgress, Phase, ProgressSink, Provenance,
    ResolvedPackage, Snapshot, SnapshotBuilder, Staging,
};
use jiff::Timestamp;

use crate::guest_image::GuestImage;
use crate::install::install;
use crate::network::Allowlist;
use crate::overlay;
use crate::vms::Vms;

/// Builds snapshots in virtual machines.
///
/// A snapshot with packages costs a boot, the installer's run and a clean power-off. One without is an
/// empty overlay, and boots nothing.
#[derive(Debug, Clone)]
pub struct VmBuilder {
    vms: Vms,
    images: Arc<[GuestImage]>,
    progress: Arc<dyn ProgressSink>,
}

impl VmBuilder {
    /// A builder of snapshots over these base images.
    #[must_use]
    pub fn new(vms: Vms, images: impl IntoIterator<Item = GuestImage>) -> Self {
        let images = images.into_iter().collect();
        Self {
            vms,
            images,
            progress: Arc::new(NoProgress),
        }
    }

    /// Reports progress to `sink`.
    #[must_use]
    pub fn with_progress(self, sink: Arc<dyn ProgressSink>) -> Self {
        Self {
            progress: sink,
            ..self
        }
    }

    fn image(&self, spec: &SnapshotSpec) -> Result<&GuestImage, BuildError> {
        let wanted = spec.base_image().digest();
        let found = self
            .images
            .iter()
            .find(|image| image.base.digest() == wanted);
        found.ok_or_else(|| {
            let context = format!(
                "find the base image {} among those of this builder",
                wanted.short()
            );
            BuildError::new(BuildErrorKind::Host, context)
        })
    }

    /// Boots a machine on `disk`, installs the spec's packages into it and powers it off.
    async fn fill(
        &self,
        spec: &SnapshotSpec,
        disk: PathBuf,
    ) -> Result<Vec<ResolvedPackage>, BuildError> {
        let key = spec.key();
        let image = self.image(spec)?;
        let Some(installer) = &image.installer else {
            let context = format!(
                "install {}: the base image has no installer",
                spec.packages()
            );
            return Err(BuildError::new(BuildErrorKind::Host, context));
        };
        let host = self.vms.host();
        let hosts = image.registry_hosts.iter().chain(&host.more_hosts);
        let allowlist = Allowlist::new(hosts)
            .map_err(|error| BuildError::new(BuildErrorKind::Host, error.to_string()))?;

        let phase = InPhase::begin(self.progress.as_ref(), &key, Phase::Boot);
        let mut vm = self.vms.boot(image, disk, Some(allowlist)).await?;
        let phase = phase.then(Phase::Install);
        let mut note = |line: &str| phase.note(line);
        let resolved = install(&mut vm, host, installer, spec.packages(), &mut note).await?;
        let _phase = phase.then(Phase::ShutDown);
        vm.power_off(host.time_outs.shut_down).await?;
        Ok(resolved)
    }
}

#[async_trait]
impl SnapshotBuilder for VmBuilder {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        let file = staging.file(&spec.key());
        let qemu_img = &self.vms.host().qemu_img;
        let base = spec.base_image();
        overlay::create(qemu_img, file.path(), base.path(), base.format()).await?;
        let resolved = if spec.packages().is_empty() {
            Vec::new()
        } else {
            self.fill(spec, file.path().to_owned()).await?
        };
        let disk = overlay::prove(qemu_img, file.path()).await?;
        let provenance = Provenance {
            built_at: Timestamp::now(),
            built_by: concat!("snaptier ", env!("CARGO_PKG_VERSION")).to_owned(),
            resolved,
            tools: Vec::new(),
        };
        let manifest = Manifest::new(spec.canonical(), disk, provenance);
        Ok(Snapshot::new(file.path().to_owned(), manifest).held_by(file))
    }
}

impl fmt::Display for VmBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm-builder({})", self.vms.host().qemu.display())
    }
}
