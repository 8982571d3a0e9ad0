use std::path::Path;
use std::sync::Arc;

use cache_layer::{BuildError, BuildErrorKind};
use tokio::sync::OnceCell;

use crate::accelerator::{self, Accelerator, AcceleratorFault, Probed, Proof, race};
use crate::deadline::Deadline;
use crate::disk_chain::DiskChain;
use crate::guest_image::GuestImage;
use crate::host::VmHost;
use crate::network::Allowlist;
use crate::overlay;
use crate::vm::{Booting, Ready, Start};

/// This host's ability to start virtual machines, with what it has learnt about its accelerators.
#[derive(Debug, Clone)]
pub struct Vms(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: VmHost,
    accelerator: OnceCell<Probed>,
}

impl Vms {
    /// Virtual machines as `host` describes them.
    #[must_use]
    pub fn new(host: VmHost) -> Self {
        Self(Arc::new(Inner {
            host,
            accelerator: OnceCell::new(),
        }))
    }

    pub(crate) fn host(&self) -> &VmHost {
        &self.0.host
    }

    /// Starts a machine on `disk` and waits until its guest takes commands. Without an allowlist the guest has no
    /// network, without a deadline it may live for ever.
    pub(crate) async fn boot(
        &self,
        image: &GuestImage,
        disk: DiskChain,
        allowlist: Option<Allowlist>,
        deadline: Option<Deadline>,
    ) -> Result<Ready, BuildError> {
        let scratch = disk.overlay.parent().unwrap_or(Path::new("."));
        let accelerator = self.accelerator(image, scratch).await?.accelerator;
        let booting = self.start(accelerator, image, disk, allowlist, deadline)?;
        Ok(booting.ready(self.host().time_outs.boot).await?)
    }

    fn start(
        &self,
        accelerator: Accelerator,
        image: &GuestImage,
        disk: DiskChain,
        allowlist: Option<Allowlist>,
        deadline: Option<Deadline>,
    ) -> Result<Booting, BuildError> {
        let host = self.host();
        Booting::start(Start {
            host,
            accelerator,
            image,
            disk,
            network: allowlist.map(|allowlist| (allowlist, host.upstream.clone())),
            deadline,
        })
    }

    /// What executes guests, and why nothing better does, where that was found.
    pub(crate) fn slow(&self) -> Option<(Accelerator, &AcceleratorFault)> {
        let probed = self.0.accelerator.get()?;
        Some((probed.accelerator, probed.fault.as_ref()?))
    }

    /// The accelerator to use, probed once.
    async fn accelerator(&self, image: &GuestImage, scratch: &Path) -> Result<&Probed, BuildError> {
        let probed = self.0.accelerator.get_or_try_init(|| async {
            let probed = match accelerator::candidate() {
                Ok(candidate) => Box::pin(self.race(candidate, image, scratch)).await?,
                Err(fault) => Probed::without(fault),
            };
            if let Some(fault) = &probed.fault {
                tracing::warn!(
                    %fault,
                    "no hypervisor works here, guests run several times slower"
                );
            }
            Ok(probed)
        });
        probed.await
    }

    /// Finds the best accelerator by booting `image`, as a machine's first start does. What that needs of a disk
    /// goes into the folder `scratch`, and is gone afterwards.
    ///
    /// Takes as long as the boot: less than half a second with a hypervisor that works, a second or two without for an image
    /// that was made here, more for another one.
    ///
    /// # Errors
    ///
    /// QEMU cannot be started, or there is no hypervisor and no guest runs without.
    pub async fn probe(&self, image: &GuestImage, scratch: &Path) -> Result<Probed, BuildError> {
        let fault = match accelerator::candidate() {
            Ok(candidate) => return Box::pin(self.race(candidate, image, scratch)).await,
            Err(fault) => fault,
        };
        let tcg = Accelerator::Tcg;
        let proof = Box::pin(self.proof(tcg, image, scratch)).await?;
        proof.map_err(|said| {
            let context = format!("run a guest with {tcg}: {said}");
            BuildError::new(BuildErrorKind::Host, context)
        })?;
        Ok(Probed::without(fault))
    }

    /// Holds this host's hypervisor against TCG.
    async fn race(
        &self,
        candidate: Accelerator,
        image: &GuestImage,
        scratch: &Path,
    ) -> Result<Probed, BuildError> {
        let user = self.host().user.to_become();
        let proof = |accelerator| self.proof(accelerator, image, scratch);
        Box::pin(race(
            candidate,
            user,
            proof(candidate),
            proof(Accelerator::Tcg),
        ))
        .await
    }

    /// Boots `image` in the quickest way that shows whether a guest runs.
    async fn proof(&self, accelerator: Accelerator, image: &GuestImage, scratch: &Path) -> Proof {
        match image.knows_proof {
            true => accelerator.proof(self.host(), image).await,
            false => self.answers(accelerator, image, scratch).await,
        }
    }

    /// Boots `image` on a disk of its own until its agent answers, and ends it.
    async fn answers(&self, accelerator: Accelerator, image: &GuestImage, scratch: &Path) -> Proof {
        let dir = tempfile::tempdir_in(scratch).map_err(|error| {
            let context = format!("make a folder in `{}`", scratch.display());
            BuildError::new(BuildErrorKind::Host, context).with_source(error)
        })?;
        let disk = dir.path().join("disk.qcow2");
        let base = &image.base;
        overlay::create(&self.host().qemu_img, &disk, base.path(), base.format()).await?;
        let disk = DiskChain::over_image(&disk, base);
        let booting = self.start(accelerator, image, disk, None, None)?;
        // From here on, a failure is the accelerator's.
        let ready = booting.ready(self.host().time_outs.boot).await;
        Ok(ready
            .map(drop)
            .map_err(|error| accelerator::last_words(&error.into())))
    }
}
