//! The base images of this host, and building over whichever of them is asked for.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base_image::{Image, ImageError, ImageStore, Installer, MakeOptions, Origin};
use cache_key::{ImageDigest, Language, SnapshotSpec};
use cache_layer::{
    BuildError, BuildErrorKind, ProgressSink, Snapshot, SnapshotBuilder, Staging, Tool,
};
use vm_builder::{Boot, FoundInstaller, GuestImage, InstallerKind, VmBuilder, Vms};

#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub(crate) store: ImageStore,
    pub(crate) options: MakeOptions,
    pub(crate) progress: Arc<dyn ProgressSink>,
}

impl Images {
    /// The image of `language`, which is made if there is none.
    pub(crate) async fn find_or_make(&self, language: Language) -> Result<Image, ImageError> {
        match self.store.find(language).await? {
            Some(image) => Ok(image),
            None => {
                let progress = self.progress.as_ref();
                self.store.make(language, &self.options, progress).await
            }
        }
    }

    /// The image of `language` that is known by `digest`.
    pub(crate) async fn of_digest(
        &self,
        language: Language,
        digest: ImageDigest,
    ) -> Result<GuestImage, BuildError> {
        let host = |context| BuildError::new(BuildErrorKind::Host, context);
        let listed = self
            .store
            .list()
            .await
            .map_err(|error| host("look for the base image".to_owned()).with_source(error))?;
        let mut images = listed.into_iter().filter_map(|listed| listed.image.ok());
        let found = images.find(|image| {
            let manifest = image.manifest();
            manifest.language == language && manifest.digest == digest
        });
        found.as_ref().map(guest_image).ok_or_else(|| {
            let dir = self.store.dir().display();
            host(format!(
                "find the {language} base image {} in `{dir}`",
                digest.short()
            ))
        })
    }
}

/// The image as a machine is given it.
pub fn guest_image(image: &Image) -> GuestImage {
    let manifest = image.manifest();
    GuestImage {
        language: manifest.language,
        base: image.base_image(),
        boot: boot(image),
        knows_proof: matches!(manifest.origin, Origin::Made { .. }),
        installer: manifest.installer.as_ref().and_then(installer),
        installer_tool: manifest.installer.as_ref().and_then(tool),
        registry_hosts: manifest.registry_hosts.clone(),
    }
}

fn boot(image: &Image) -> Boot {
    match &image.manifest().boot {
        base_image::Boot::Kernel { initrd, append } => Boot::Kernel {
            kernel: image.kernel(),
            initrd: initrd.then(|| image.initrd()),
            append: append.clone(),
        },
        base_image::Boot::Firmware => Boot::Firmware,
    }
}

fn installer(installer: &Installer) -> Option<InstallerKind> {
    match installer {
        Installer::Uv {
            program, python, ..
        } => Some(InstallerKind::Uv {
            program: program.clone(),
            python: python.clone(),
        }),
        Installer::Bun {
            program, folder, ..
        } => Some(InstallerKind::Bun {
            program: program.clone(),
            folder: folder.clone(),
        }),
        // One that this release cannot run is as good as none.
        _ => None,
    }
}

/// The installer as manifests of snapshots name it.
fn tool(installer: &Installer) -> Option<Tool> {
    let (name, version) = match installer {
        Installer::Uv { version, .. } => ("uv", version),
        Installer::Bun { version, .. } => ("bun", version),
        _ => return None,
    };
    Some(Tool {
        name: name.to_owned(),
        version: version.clone(),
    })
}

/// The installer that was found in a guest, as `image.json` describes it.
pub(crate) fn described(found: FoundInstaller) -> Option<Installer> {
    let version = found.version;
    match found.kind {
        InstallerKind::Uv { program, python } => Some(Installer::Uv {
            program,
            python,
            version,
        }),
        InstallerKind::Bun { program, folder } => Some(Installer::Bun {
            program,
            folder,
            version,
        }),
        _ => None,
    }
}

/// Builds over any image of the store, also over one that was made after it.
#[derive(Debug)]
pub(crate) struct ImageBuilder {
    pub(crate) images: Images,
    pub(crate) vms: Vms,
}

#[async_trait]
impl SnapshotBuilder for ImageBuilder {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        let digest = spec.base_image().digest();
        let image = self.images.of_digest(spec.language(), digest).await?;
        VmBuilder::new(self.vms.clone(), [image])
            .with_progress(self.images.progress.clone())
            .build(spec, staging)
            .await
    }
}

impl fmt::Display for ImageBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm-builder({})", self.images.store.dir().display())
    }
}
