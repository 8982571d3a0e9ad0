use std::collections::BTreeMap;
use std::env;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use base_image::{ImageChoice, ImageError, ImageStore};
use cache_key::Language;
use etcetera::{BaseStrategy, choose_base_strategy};
use l2_disk::Budget;
use l3_remote::RemoteLocation;
use vm_builder::network::{PackageIndex, Upstream};
use vm_builder::{QemuUser, Retries, VmHost};

use crate::SettingsError;

/// How a cache is to be wired.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where snapshots are kept on this host.
    pub cache_dir: PathBuf,
    /// How much room they may take.
    pub budget: Budget,
    /// Where base images are kept on this host.
    pub image_dir: PathBuf,
    /// The image to use of those that this host has; `None` for the newest.
    pub image: Option<ImageChoice>,
    /// The store that is shared with other hosts; `None` for none.
    pub remote: Option<RemoteLocation>,
    /// Uploads at once, at least one.
    pub max_concurrent_uploads: NonZero<usize>,
    /// Hosts, as `HOST` or `HOST:PORT`, that a guest may reach while it installs, besides those of the
    /// image's own installer: a mirror, a private index.
    pub more_hosts: Vec<String>,
    /// The package index that the installer of a language uses in place of its own. Its host may be an address,
    /// or inside. A snapshot's key does not tell where its packages came from: hosts that share a
    /// remote store should use indexes with the same packages.
    pub indexes: BTreeMap<Language, PackageIndex>,
    /// How often an installation that failed for a passing reason is tried again.
    pub retries: Retries,
    /// How this host reaches the registries.
    pub upstream: Upstream,
    /// The CA certificates, in PEM form, that a guest is to trust while it installs; `None` for the image's own.
    pub ca_bundle: Option<PathBuf>,
    /// Whose processes QEMUs are when root starts them.
    pub qemu_user: QemuUser,
    /// The most that a guest's disk may grow to, in bytes of its overlay's file.
    pub vm_disk_limit: u64,
    /// The Debian mirror that base images are made from, as a URL; `None` for Debian's own.
    pub debian_mirror: Option<String>,
}

/// Where Debian and its like keep the certificates that a host trusts.
const SYSTEM_CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Settings {
    /// The settings of whoever runs this process: the XDG directories, no limit of size, no remote store, and the environment's
    /// proxy (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`) and CA bundle (`SSL_CERT_FILE`, else the system's own).
    ///
    /// # Errors
    ///
    /// There is no home directory, or the proxy cannot be used.
    pub fn of_user() -> Result<Self, SettingsError> {
        let dirs = choose_base_strategy().map_err(|_| SettingsError::NoHome)?;
        let cache_dir = dirs.cache_dir().join("snaptier");
        let image_dir = dirs.data_dir().join("snaptier/images");
        Self::in_dirs(cache_dir, image_dir)
    }

    /// The same with these directories.
    ///
    /// # Errors
    ///
    /// The environment's proxy cannot be used.
    pub fn in_dirs(
        cache_dir: impl Into<PathBuf>,
        image_dir: impl Into<PathBuf>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            cache_dir: cache_dir.into(),
            budget: Budget::default(),
            image_dir: image_dir.into(),
            image: None,
            remote: None,
            max_concurrent_uploads: NonZero::new(4).unwrap_or(NonZero::<usize>::MIN),
            more_hosts: Vec::new(),
            indexes: BTreeMap::new(),
            retries: Retries::default(),
            upstream: Upstream::from_env(|name| env::var(name).ok())?,
            ca_bundle: ca_bundle(),
            qemu_user: QemuUser::default(),
            vm_disk_limit: VmHost::default().disk_limit_bytes,
            debian_mirror: None,
        })
    }

    /// The base images of this host, of which the one that was chosen is found.
    ///
    /// # Errors
    ///
    /// A relative path cannot be made absolute, because the current directory is gone.
    pub fn image_store(&self) -> Result<ImageStore, ImageError> {
        Ok(ImageStore::new(&self.image_dir)?.choosing(self.image.clone()))
    }

    /// What virtual machines are given.
    #[must_use]
    pub fn vm_host(&self) -> VmHost {
        VmHost {
            upstream: self.upstream.clone(),
            more_hosts: self.more_hosts.clone(),
            ca_bundle: self.ca_bundle.clone(),
            indexes: self.indexes.clone(),
            retries: self.retries,
            user: self.qemu_user,
            disk_limit_bytes: self.vm_disk_limit,
            ..VmHost::default()
        }
    }
}

fn ca_bundle() -> Option<PathBuf> {
    let named = env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty());
    let system = || Some(PathBuf::from(SYSTEM_CA_BUNDLE)).filter(|path| Path::is_file(path));
    named.map(PathBuf::from).or_else(system)
}
