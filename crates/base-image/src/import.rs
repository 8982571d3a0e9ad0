//! Taking in a disk that was made elsewhere: what can be said without booting it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use cache_key::Language;
use cache_layer::{InPhase, KeyLock, Phase, ProgressSink, Subject, blocking};
use jiff::Timestamp;
use qcow2_header::{Qcow2Error, vet_standalone};
use tempfile::TempDir;

use crate::foreign_disk::{ForeignFormat, recognise};
use crate::image::{self, DISK, INITRD, KERNEL};
use crate::maker::STAGING_PREFIX;
use crate::publish::publish;
use crate::tool::{QEMU_IMG, Tool, run, single};
use crate::{
    Boot, IMAGE_FORMAT_VERSION, Image, ImageError, ImageManifest, ImageStore, Installer, Origin,
};

/// A disk with a system on it, and how that is booted.
#[derive(Debug, Clone)]
pub struct Import {
    /// The language that the image is to be for.
    pub language: Language,
    /// The disk: qcow2 without a backing file, or raw.
    pub disk: PathBuf,
    /// What QEMU is to load; `None` for a disk that the machine's firmware boots.
    pub kernel: Option<ImportedKernel>,
}

/// A kernel that comes with an imported disk.
#[derive(Debug, Clone)]
pub struct ImportedKernel {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub append: String,
}

/// An image that lacks only what its guest has to tell. Nobody else sees it, and it goes when it is dropped.
#[derive(Debug)]
#[must_use = "it is no image before it is published"]
pub struct Candidate {
    image: Image,
    image_dir: PathBuf,
    staging: TempDir,
    _lock: KeyLock,
}

const CP: Tool = Tool {
    program: "cp",
    package: "coreutils",
};

impl ImageStore {
    /// Copies what `import` names into the folder of images, as the image that it would be, and looks at all
    /// that can be looked at without booting it. A qcow2 disk stays the same byte for byte, so that two hosts
    /// that import it share snapshots; a raw one becomes qcow2. Holes stay holes.
    ///
    /// One process at a time makes or imports an image of a language; another one waits.
    ///
    /// # Errors
    ///
    /// [`ForeignDisk`](ImageError::ForeignDisk) and [`ForeignFile`](ImageError::ForeignFile): a file is not
    /// what it is said to be. Else a file cannot be read, the folder cannot be written to, or `qemu-img` is
    /// missing.
    pub async fn take_in(
        &self,
        import: &Import,
        progress: &dyn ProgressSink,
    ) -> Result<Candidate, ImageError> {
        // Before anything is written, all that can be seen from the outside.
        let format = recognise(&import.disk)?;
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(ImageError::io("find the file", path));
        let disk = absolute(&import.disk)?;
        let mut loaded = Vec::new();
        if let Some(kernel) = &import.kernel {
            require_some_bytes("kernel", &kernel.kernel)?;
            loaded.push((absolute(&kernel.kernel)?, KERNEL));
            if let Some(initrd) = &kernel.initrd {
                require_some_bytes("initial RAM disk", initrd)?;
                loaded.push((absolute(initrd)?, INITRD));
            }
        }
        QEMU_IMG.require()?;

        let lock = self.lock(import.language).await?;
        let staging = tempfile::Builder::new()
            .prefix(&format!("{STAGING_PREFIX}{}-", import.language))
            .tempdir_in(self.dir())
            .map_err(ImageError::io("make a folder in", self.dir()))?;
        let made = staging.path().join("image");
        fs::create_dir(&made).map_err(ImageError::io("make the folder", &made))?;

        let subject = Subject::Image(import.language);
        let phase = InPhase::begin(progress, subject, Phase::Image);
        phase.note("copy");
        match format {
            ForeignFormat::Qcow2 => copy(&disk, &made, DISK).await?,
            ForeignFormat::Raw => {
                let words = ["convert", "-f", "raw", "-O", "qcow2"].map(AsRef::as_ref);
                let command = single(
                    QEMU_IMG,
                    words.into_iter().chain([disk.as_os_str(), DISK.as_ref()]),
                );
                run(
                    command,
                    QEMU_IMG,
                    "turn the raw disk into a qcow2 one",
                    &made,
                )
                .await?;
            }
        }
        for (file, name) in loaded {
            copy(&file, &made, name).await?;
        }
        phase.note("check and digest");
        let manifest = {
            let made = made.clone();
            let import = Import {
                disk,
                ..import.clone()
            };
            blocking(move || look_at(&import, &made)).await?
        };
        phase.done();
        Ok(Candidate {
            image: Image::unproven(made, manifest),
            image_dir: self.dir().to_owned(),
            staging,
            _lock: lock,
        })
    }
}

impl Candidate {
    /// The image as it is so far: it has no installer.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// A folder for what is needed to try the image; it goes with the candidate.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.staging.path()
    }

    /// Makes it an image, with the installer that its guest has, if it has one, and the hosts that this one
    /// fetches from. One with the same disk that is there already is replaced.
    ///
    /// # Errors
    ///
    /// The folder cannot be written to.
    pub async fn publish(
        self,
        installer: Option<Installer>,
        registry_hosts: Vec<String>,
    ) -> Result<Image, ImageError> {
        let manifest = ImageManifest {
            installer,
            registry_hosts,
            created_at: Timestamp::now(),
            ..self.image.manifest().clone()
        };
        blocking(move || {
            let dir = publish(self.image.dir(), &self.image_dir, &manifest)?;
            Image::open(dir)
        })
        .await
    }
}

/// Copies `file` to `name` in the folder `dir`. Blocks are shared where the file system can.
async fn copy(file: &Path, dir: &Path, name: &str) -> Result<(), ImageError> {
    let words = ["--reflink=auto", "--sparse=always", "--dereference", "--"].map(AsRef::as_ref);
    let command = single(
        CP,
        words.into_iter().chain([file.as_os_str(), name.as_ref()]),
    );
    run(command, CP, "copy a file of the image", dir).await
}

/// Holds the copied disk, which nobody changes any more, against what a base image must be, and says what
/// the image is.
fn look_at(import: &Import, made: &Path) -> Result<ImageManifest, ImageError> {
    let disk = made.join(DISK);
    let io = |what| ImageError::io(what, disk.clone());
    let file = File::open(&disk).map_err(io("open the disk"))?;
    let header = vet_standalone(&file, Path::new(QEMU_IMG.program));
    let header = header.map_err(|fault| refused(&import.disk, fault))?;
    let digest = image::digest(&disk).map_err(io("hash the disk"))?;
    Ok(ImageManifest {
        format_version: IMAGE_FORMAT_VERSION,
        digest,
        language: import.language,
        architecture: std::env::consts::ARCH.to_owned(),
        boot: match &import.kernel {
            Some(kernel) => Boot::Kernel {
                initrd: kernel.initrd.is_some(),
                append: kernel.append.clone(),
            },
            None => Boot::Firmware,
        },
        installer: None,
        registry_hosts: Vec::new(),
        origin: Origin::Imported {
            file: import.disk.display().to_string(),
        },
        disk_bytes: header.file_bytes,
        created_at: Timestamp::now(),
    })
}

fn refused(path: &Path, fault: Qcow2Error) -> ImageError {
    let name = path.display();
    let remedy = match &fault {
        Qcow2Error::Tool { .. } | Qcow2Error::Io(_) => {
            return ImageError::Unchecked {
                path: path.to_owned(),
                source: fault,
            };
        }
        Qcow2Error::Refused(_) => {
            format!(
                "`qemu-img convert -O qcow2 {name} whole.qcow2` makes a plain disk of it; import that one"
            )
        }
        _ => format!("it is damaged: copy it again, or see what `qemu-img check {name}` says"),
    };
    ImageError::ForeignDisk {
        path: path.to_owned(),
        fault: fault.to_string(),
        remedy,
    }
}

fn require_some_bytes(what: &'static str, path: &Path) -> Result<(), ImageError> {
    let foreign = |fault: &str| ImageError::ForeignFile {
        what,
        path: path.to_owned(),
        fault: fault.to_owned(),
    };
    let data = fs::metadata(path).map_err(ImageError::io("find the file", path))?;
    if !data.is_file() {
        return Err(foreign("it is no file"));
    }
    let mut first = [0];
    match File::open(path).and_then(|mut file| file.read(&mut first)) {
        Ok(0) => Err(foreign("it is empty")),
        Ok(_) => Ok(()),
        Err(error) => Err(ImageError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use cache_layer::NoProgress;

    use super::*;

    async fn refusal(import: Import) -> String {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        let store = ImageStore::new(&images).unwrap();
        let error = store.take_in(&import, &NoProgress).await.unwrap_err();
        let left = images.read_dir().into_iter().flatten();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
        error.to_string()
    }

    fn of_disk(disk: PathBuf) -> Import {
        Import {
            language: Language::Raw,
            disk,
            kernel: None,
        }
    }

    #[tokio::test]
    async fn a_disk_with_a_backing_file_is_refused_with_the_way_to_flatten_it() {
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/qcow2/v3.qcow2");
        let said = refusal(of_disk(overlay)).await;
        assert!(
            said.contains("backing file") && said.contains("qemu-img convert -O qcow2"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_disk_that_is_damaged_is_refused_and_nothing_is_left() {
        let damaged = "../../fixtures/qcow2/hostile/l1-cut-off.qcow2";
        let said = refusal(of_disk(Path::new(env!("CARGO_MANIFEST_DIR")).join(damaged))).await;
        assert!(said.contains("l1-cut-off.qcow2"), "{said}");
    }

    #[tokio::test]
    async fn a_kernel_that_is_none_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let disk =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/qcow2/standalone.qcow2");
        let empty = dir.path().join("vmlinuz");
        fs::write(&empty, "").unwrap();
        for (kernel, fault) in [
            (empty, "it is empty"),
            (dir.path().to_owned(), "it is no file"),
            (dir.path().join("missing"), "find the file"),
        ] {
            let name = kernel.display().to_string();
            let kernel = ImportedKernel {
                kernel,
                initrd: None,
                append: String::new(),
            };
            let said = refusal(Import {
                kernel: Some(kernel),
                ..of_disk(disk.clone())
            })
            .await;
            assert!(said.contains(&name) && said.contains(fault), "{said}");
        }
    }

    #[tokio::test]
    async fn a_raw_disk_becomes_a_qcow2_one_and_a_qcow2_one_stays_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images")).unwrap();
        let raw = dir.path().join("disk,with=a:colon.img");
        let mut bytes = vec![0; 1 << 20];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[4096..8192].fill(7);
        fs::write(&raw, bytes).unwrap();
        let candidate = store.take_in(&of_disk(raw), &NoProgress).await.unwrap();
        let image = candidate.publish(None, Vec::new()).await.unwrap();
        let disk = image.base_image().path().to_owned();
        assert_eq!(fs::read(&disk).unwrap()[..4], *b"QFI\xfb");
        assert_eq!(image.manifest().boot, Boot::Firmware);
        assert!(!image.kernel().exists());

        let other = ImageStore::new(dir.path().join("other")).unwrap();
        let candidate = other.take_in(&of_disk(disk), &NoProgress).await.unwrap();
        let again = candidate.publish(None, Vec::new()).await.unwrap();
        assert_eq!(again.manifest().digest, image.manifest().digest);
        let found = other.find(Language::Raw).await.unwrap().unwrap();
        assert_eq!(found.manifest(), again.manifest());
    }

    #[tokio::test]
    async fn the_same_disk_with_another_kernel_takes_the_place_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::new(dir.path().join("images")).unwrap();
        let kernel = dir.path().join("vmlinuz");
        for version in ["one", "two"] {
            fs::write(&kernel, version).unwrap();
            let import = Import {
                kernel: Some(ImportedKernel {
                    kernel: kernel.clone(),
                    initrd: None,
                    append: format!("version={version}"),
                }),
                ..of_disk(
                    Path::new(env!("CARGO_MANIFEST_DIR"))
                        .join("../../fixtures/qcow2/standalone.qcow2"),
                )
            };
            let candidate = store.take_in(&import, &NoProgress).await.unwrap();
            candidate.publish(None, Vec::new()).await.unwrap();
        }
        let listed = store.list().await.unwrap();
        assert_eq!(listed.len(), 1);
        let image = listed[0].image.as_ref().unwrap();
        assert_eq!(fs::read(image.kernel()).unwrap(), b"two");
        let append = "version=two".to_owned();
        let boot = Boot::Kernel {
            initrd: false,
            append,
        };
        assert_eq!(image.manifest().boot, boot);
    }
}
