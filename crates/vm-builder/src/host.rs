use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cache_key::Language;
use cache_layer::{BuildError, BuildErrorKind};

use crate::network::{PackageIndex, Upstream};
use crate::qemu_user::{Ids, QemuUser};
use crate::retries::Retries;

/// What this host gives its virtual machines.
#[derive(Debug, Clone)]
pub struct VmHost {
    /// `qemu-system-x86_64` or its like: a path, or a name to be found on `PATH`.
    pub qemu: PathBuf,
    /// `qemu-img`, likewise.
    pub qemu_img: PathBuf,
    /// Memory of a machine, in MiB. At least 256 for a kernel, an agent and an installer.
    pub memory_mib: u32,
    /// Processors of a machine.
    pub cpus: u32,
    /// How this host reaches the registries.
    pub upstream: Upstream,
    /// Hosts that guests may reach besides those that their image names, as `HOST` or `HOST:PORT`.
    pub more_hosts: Vec<String>,
    /// A file of CA certificates in PEM form that guests are to trust in place of their own: needed where
    /// this host sits behind a proxy that inspects TLS.
    pub ca_bundle: Option<PathBuf>,
    /// The package index that the installer of a language uses in place of its own.
    pub indexes: BTreeMap<Language, PackageIndex>,
    /// How long each phase may take.
    pub time_outs: TimeOuts,
    /// How often an installation that failed for a passing reason is tried again.
    pub retries: Retries,
    /// Whose process QEMU is when root starts it.
    pub user: QemuUser,
    /// The most that a guest's disk may grow to, in bytes of its overlay's file. A guest that writes more is
    /// ended.
    pub disk_limit_bytes: u64,
}

/// How long each phase of a machine's life may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOuts {
    /// Until the guest agent answers.
    pub boot: Duration,
    /// Until the installer is done.
    pub install: Duration,
    /// Until the guest has flushed its disk and powered off.
    pub shut_down: Duration,
    /// From the start of a build until its machine is gone, whatever happens in between.
    pub build: Duration,
}

impl Default for TimeOuts {
    /// Two minutes, half an hour, two minutes, and an hour for all of it: several times what a slow host without
    /// KVM needs.
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(120),
            install: Duration::from_secs(1800),
            shut_down: Duration::from_secs(120),
            build: Duration::from_secs(3600),
        }
    }
}

impl Default for VmHost {
    /// Programs from `PATH`, 1 GiB of memory, up to two processors, disks of up to 16 GiB, a direct way out.
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            qemu: format!("qemu-system-{}", std::env::consts::ARCH).into(),
            qemu_img: "qemu-img".into(),
            memory_mib: 1024,
            cpus: if cpus > 1 { 2 } else { 1 },
            upstream: Upstream::direct(),
            more_hosts: Vec::new(),
            ca_bundle: None,
            indexes: BTreeMap::new(),
            time_outs: TimeOuts::default(),
            retries: Retries::default(),
            user: QemuUser::default(),
            disk_limit_bytes: 16 << 30,
        }
    }
}

/// Why a program could not be started, and what to install where it is missing.
pub(crate) fn cannot_start(program: &Path, error: io::Error) -> BuildError {
    let name = program.display();
    let context = match (
        error.kind(),
        program.file_name().and_then(|name| name.to_str()),
    ) {
        (io::ErrorKind::NotFound, Some("qemu-img")) => {
            format!("`{name}` is not installed: install the package qemu-utils (Debian, Ubuntu)")
        }
        (io::ErrorKind::NotFound, _) => {
            format!(
                "`{name}` is not installed: install the package qemu-system-x86 (Debian, Ubuntu)"
            )
        }
        _ => format!("start `{name}`"),
    };
    BuildError::new(BuildErrorKind::Host, context).with_source(error)
}

/// The same for a QEMU that was to become the process of `user`: then that may be what could not be.
pub(crate) fn cannot_start_as(user: Option<Ids>, program: &Path, error: io::Error) -> BuildError {
    let may_be_the_user = matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
    );
    match user.filter(|_| may_be_the_user) {
        Some(Ids { uid, gid }) => {
            let context = format!(
                "start `{}` as user {uid}, group {gid}: root's QEMU runs as another user; let that one run the program, name one that exists here (`VmHost::user`, `--qemu-user`), or, at your own risk, `own`",
                program.display()
            );
            BuildError::new(BuildErrorKind::Host, context).with_source(error)
        }
        None => cannot_start(program, error),
    }
}
