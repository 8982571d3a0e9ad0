use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cache_key::SnapshotSpec;
use cache_layer::{
    BuildError, BuildErrorKind, Manifest, NoProgress, ProgressSink, Provenance, Snapshot,
    SnapshotBuilder, Staging,
};
use jiff::Timestamp;

use crate::deadline::Deadline;
use crate::filling::Filling;
use crate::guest_image::GuestImage;
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
}

#[async_trait]
impl SnapshotBuilder for VmBuilder {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        let deadline = Deadline::after(self.vms.host().time_outs.build);
        let file = staging.file(&spec.key());
        let qemu_img = &self.vms.host().qemu_img;
        let base = spec.base_image();
        let filled = if spec.packages().is_empty() {
            overlay::create(qemu_img, file.path(), base.path(), base.format()).await?;
            None
        } else {
            let filling = Filling {
                vms: &self.vms,
                image: self.image(spec)?,
                spec,
                disk: file.path(),
                deadline,
                progress: self.progress.as_ref(),
            };
            Some(filling.fill().await?)
        };
        let disk = overlay::prove(qemu_img, file.path(), spec.base_image()).await?;
        let (resolved, tools) = filled
            .map(|filled| (filled.resolved, filled.tools))
            .unwrap_or_default();
        let provenance = Provenance {
            built_at: Timestamp::now(),
            built_by: concat!("snaptier ", env!("CARGO_PKG_VERSION")).to_owned(),
            resolved,
            tools,
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
