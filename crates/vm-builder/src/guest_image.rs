use std::path::PathBuf;

use cache_key::{BaseImage, Language};
use cache_layer::Tool;

use crate::installer::InstallerKind;

/// A base image as the builder needs it: what to boot, and how packages get in.
#[derive(Debug, Clone)]
pub struct GuestImage {
    /// The language it is for.
    pub language: Language,
    /// The disk that snapshots are built over.
    pub base: BaseImage,
    /// How the system on that disk is started.
    pub boot: Boot,
    /// Whether its initial RAM disk powers off at once when [`PROOF`](crate::PROOF) is on the kernel's command
    /// line, as those of images do that are made here.
    pub knows_proof: bool,
    /// What installs packages; `None` when the language has no package manager.
    pub installer: Option<InstallerKind>,
    /// The installer's name and version, as the image gives them, for the manifests of snapshots.
    pub installer_tool: Option<Tool>,
    /// The hosts, as `HOST` or `HOST:PORT`, that the installer fetches from.
    pub registry_hosts: Vec<String>,
}

/// How a machine comes to run what is on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// QEMU loads a kernel and starts it: no firmware to wait for.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// The initial RAM disk that goes with it; `None` for a kernel that finds the disk by itself.
        initrd: Option<PathBuf>,
        /// The kernel's command line.
        append: String,
    },
    /// The firmware that QEMU brings for the machine, a PC's BIOS, starts the boot loader on the disk.
    Firmware,
}
