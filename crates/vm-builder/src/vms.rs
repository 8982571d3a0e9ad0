use std::path::PathBuf;
use std::sync::Arc;

use cache_layer::BuildError;
use tokio::sync::OnceCell;

use crate::accelerator::{Accelerator, Probed};
use crate::guest_image::GuestImage;
use crate::host::{VmHost, cannot_start};
use crate::network::Allowlist;
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

    /// Starts a machine on the overlay `disk` and waits until its guest takes commands. Without an
    /// allowlist the guest has no network.
    pub(crate) async fn boot(
        &self,
        image: &GuestImage,
        disk: PathBuf,
        allowlist: Option<Allowlist>,
    ) -> Result<Ready, BuildError> {
        let host = self.host();
        let accelerator = self.accelerator(image).await?;
        let booting = Booting::start(Start {
            qemu: &host.qemu,
            accelerator,
            cpus: host.cpus,
            memory_mib: host.memory_mib,
            image,
            disk,
            network: allowlist.map(|allowlist| (allowlist, host.upstream.clone())),
        })?;
        Ok(booting.ready(host.time_outs.boot).await?)
    }

    /// What executes guests, and why nothing better does, where that was found.
    pub(crate) fn slow(&self) -> Option<(Accelerator, &str)> {
        let probed = self.0.accelerator.get()?;
        Some((probed.accelerator, probed.kvm_fault.as_deref()?))
    }

    /// The accelerator to use, probed once.
    async fn accelerator(&self, image: &GuestImage) -> Result<Accelerator, BuildError> {
        let probed = self.0.accelerator.get_or_try_init(|| async {
            let probed = Accelerator::probe(&self.host().qemu, image).await?;
            if let Some(fault) = &probed.kvm_fault {
                tracing::warn!(
                    fault,
                    "KVM does not work here, guests run several times slower"
                );
            }
            Ok(probed)
        });
        let probed = probed
            .await
            .map_err(|error| cannot_start(&self.host().qemu, error))?;
        Ok(probed.accelerator)
    }
}
