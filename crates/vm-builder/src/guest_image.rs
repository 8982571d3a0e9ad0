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
    /// The kernel that QEMU starts.
    pub kernel: PathBuf,
    /// The initial RAM disk that goes with it.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub append: String,
    /// What installs packages; `None` when the language has no package manager.
    pub installer: Option<InstallerKind>,
    /// The installer's name and version, as the image gives them, for the manifests of snapshots.
    pub installer_tool: Option<Tool>,
    /// The hosts, as `HOST` or `HOST:PORT`, that the installer fetches from.
    pub registry_hosts: Vec<String>,
}
