//! Making an image: a root file system from packages, a kernel, a disk; and all of it or nothing.

use std::fs;
use std::path::{Path, PathBuf};

use cache_key::Language;
use cache_layer::{InPhase, Phase, ProgressSink, Subject, blocking};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::image::{self, DISK, INITRD, KERNEL};
use crate::publish;
use crate::recipe::{APPEND, EPOCH, Recipe, SUITE};
use crate::tool::{MKE2FS, MMDEBSTRAP, QEMU_IMG, Tool, as_root, contained, run};
use crate::{Boot, IMAGE_FORMAT_VERSION, ImageError, ImageManifest, Origin};

/// How to make an image.
#[derive(Debug, Clone, Default)]
pub struct MakeOptions {
    /// The Debian mirror to take packages from, as a URL; `None` for the one that `mmdebstrap` takes by itself.
    pub debian_mirror: Option<String>,
}

const SHELL: Tool = Tool {
    program: "sh",
    package: "dash",
};
const REGISTRY_HOSTS: &str = "registry-hosts";
/// What folders begin with in which an image is being made.
pub(crate) const STAGING_PREFIX: &str = ".staging-";

/// Makes an image in `image_dir` and gives its folder.
///
/// Everything is made in a staging folder, which is removed however this ends, and appears by one rename.
pub(crate) async fn make(
    image_dir: &Path,
    language: Language,
    options: &MakeOptions,
    progress: &dyn ProgressSink,
) -> Result<PathBuf, ImageError> {
    let recipe = Recipe::of(language)?;
    [MMDEBSTRAP, MKE2FS, QEMU_IMG]
        .into_iter()
        .try_for_each(Tool::require)?;
    let staging = tempfile::Builder::new()
        .prefix(&format!("{STAGING_PREFIX}{language}-"))
        .tempdir_in(image_dir)
        .map_err(ImageError::io("make a folder in", image_dir))?;
    let phase = InPhase::begin(progress, Subject::Image(language), Phase::Image);
    phase.note("packages");
    bootstrap(&recipe, options, staging.path()).await?;
    phase.note("disk");
    let mut command = as_root(SHELL, ["-c", crate::recipe::DISK]).await?;
    command.envs(recipe.variables.iter().copied());
    run(
        command,
        SHELL,
        "turn the base system into a disk",
        staging.path(),
    )
    .await?;
    phase.note("digest");
    let image_dir = image_dir.to_owned();
    let made = blocking(move || finish(&staging, &image_dir, language, &recipe)).await?;
    phase.done();
    Ok(made)
}

/// Leaves the new root in `root.tar`.
async fn bootstrap(
    recipe: &Recipe,
    options: &MakeOptions,
    staging: &Path,
) -> Result<(), ImageError> {
    let mut args = vec![
        "--mode=auto".to_owned(),
        "--variant=minbase".to_owned(),
        "--format=tar".to_owned(),
        format!("--include={}", recipe.packages.join(",")),
        "--dpkgopt=path-exclude=/usr/share/doc/*".to_owned(),
        "--dpkgopt=path-exclude=/usr/share/man/*".to_owned(),
        "--dpkgopt=path-exclude=/usr/share/locale/*".to_owned(),
    ];
    args.extend(
        recipe
            .hooks
            .iter()
            .map(|hook| format!("--customize-hook={hook}")),
    );
    args.extend([SUITE.to_owned(), "root.tar".to_owned()]);
    args.extend(options.debian_mirror.clone());
    let mut command = contained(MMDEBSTRAP, args);
    command
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .envs(recipe.variables.iter().copied());
    if rustix::process::geteuid().is_root() {
        // Gone with the staging folder, however this ends. Another user's packages are unpacked by a
        // user that could not enter here.
        command.env("TMPDIR", staging);
    }
    run(command, MMDEBSTRAP, "put the base system together", staging).await
}

/// Says what was made, and publishes it.
fn finish(
    staging: &TempDir,
    image_dir: &Path,
    language: Language,
    recipe: &Recipe,
) -> Result<PathBuf, ImageError> {
    let made = staging.path().join("image");
    fs::create_dir(&made).map_err(ImageError::io("make the folder", &made))?;
    for name in [DISK, KERNEL, INITRD] {
        let (from, to) = (staging.path().join(name), made.join(name));
        fs::rename(&from, &to).map_err(ImageError::io("find what should have been made,", from))?;
    }
    let disk = made.join(DISK);
    let io = |what| ImageError::io(what, disk.clone());
    let digest = image::digest(&disk).map_err(io("hash the disk"))?;
    let disk_bytes = disk.metadata().map_err(io("look at the disk"))?.len();
    let manifest = ImageManifest {
        format_version: IMAGE_FORMAT_VERSION,
        digest,
        language,
        architecture: std::env::consts::ARCH.to_owned(),
        boot: Boot::Kernel {
            initrd: true,
            append: APPEND.to_owned(),
        },
        installer: recipe.installer.clone(),
        registry_hosts: registry_hosts(&staging.path().join(REGISTRY_HOSTS), recipe)?,
        origin: Origin::Made {
            recipe: recipe.revision(),
        },
        disk_bytes,
        created_at: Timestamp::now(),
    };
    publish::publish(&made, image_dir, &manifest)
}

/// What the installer said when it was asked; an image without one has no hosts.
fn registry_hosts(path: &Path, recipe: &Recipe) -> Result<Vec<String>, ImageError> {
    if recipe.installer.is_none() {
        return Ok(Vec::new());
    }
    let hosts = fs::read_to_string(path)
        .map_err(ImageError::io("read the installer's hosts from", path))?;
    Ok(hosts
        .lines()
        .map(str::to_owned)
        .filter(|host| !host.is_empty())
        .collect())
}
