//! An image of the user's own: taken in, tried once, and only then an image.

use base_image::{Image, ImageError, ImageStore, Import};
use cache_layer::ProgressSink;
use thiserror::Error;
use vm_builder::{InspectError, Vms};

use crate::images::{described, guest_image};

/// Why a disk did not become an image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Its files cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Its guest cannot be used.
    #[error(transparent)]
    Guest(#[from] InspectError),
}

/// Makes an image of the disk that `import` names, after `vms` booted it once: its guest agent has answered, its
/// installer has run and said what it fetches from, and it has powered off. Nobody sees it before.
///
/// `installer_programs` are the guest's paths where the installer may be, besides the usual ones. Dropping the
/// future leaves neither machine nor file.
///
/// # Errors
///
/// A file or the guest lacks something, and it is said how to give it that; or this host cannot boot any.
pub async fn import_image(
    store: &ImageStore,
    vms: &Vms,
    import: &Import,
    installer_programs: &[String],
    progress: &dyn ProgressSink,
) -> Result<Image, ImportError> {
    let candidate = store.take_in(import, progress).await?;
    let image = guest_image(candidate.image());
    let scratch = candidate.scratch().to_owned();
    let found = vms
        .inspect(&image, &scratch, installer_programs, progress)
        .await?;
    let (installer, registry_hosts) = match found {
        Some(found) => {
            let hosts = found.registry_hosts.clone();
            (described(found), hosts)
        }
        None => (None, Vec::new()),
    };
    Ok(candidate.publish(installer, registry_hosts).await?)
}
