//! What a QEMU process may not do, whatever the guest makes of it.
//!
//! QEMU's own `-sandbox` denies system calls. Around it: another user where root starts it, with no other group
//! and no way back; no environment, no directory and no descriptor of ours but those it is handed; limits on
//! what it can take of the host. The kernel holds all of it, from before QEMU's first instruction.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    Gid, Uid, UnshareFlags, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid, unshare_unsafe,
};

use crate::cgroup::{Leaf, Limits};
use crate::host::VmHost;
use crate::qemu_user::{Ids, kvm_group};

/// How one QEMU is held.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// Whom it becomes; `None` for who we are.
    pub(crate) user: Option<Ids>,
    groups: Vec<Gid>,
    largest_file: u64,
    most_address_space: u64,
    /// Where its memory, its processor time and its threads are limited, if that is permitted here.
    leaf: Option<Leaf>,
}

/// The only file that QEMU writes to is the guest's disk, so that the limit on files is the one on disks.
/// Its address space is no tight fit: the guest's memory, the translator's buffer, and for each of its threads
/// a stack and an arena, most of which it never touches. It stops what runs away.
const ADDRESS_SPACE_BESIDES: u64 = 16 << 30;

/// What QEMU keeps of our environment: how programs and libraries are found. The rest may hold secrets.
const KEPT_ENVIRONMENT: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

impl Confinement {
    /// Of a machine of this host. Where no control group can be made, that is so with a debug line.
    pub(crate) fn of(host: &VmHost) -> Self {
        let memory = u64::from(host.memory_mib) << 20;
        let user = host.user.to_become();
        let leaf = Leaf::make(Limits::of_machine(memory, host.cpus));
        Self {
            user,
            groups: user
                .and_then(|_| kvm_group())
                .map(gid)
                .into_iter()
                .collect(),
            largest_file: host.disk_limit_bytes,
            most_address_space: memory.saturating_add(ADDRESS_SPACE_BESIDES),
            leaf: leaf
                .inspect_err(|error| {
                    tracing::debug!(%error, "a VM runs without limits by a control group");
                })
                .ok(),
        }
    }

    /// QEMU's whole environment.
    pub(crate) fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
        KEPT_ENVIRONMENT
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)))
    }

    /// Binds the calling process, for good. To be called between fork and exec: it makes system calls and nothing
    /// else.
    pub(crate) fn enter(&self) -> io::Result<()> {
        if let Some(leaf) = &self.leaf {
            leaf.join();
        }
        limit(Resource::Core, 0)?;
        limit(Resource::Fsize, self.largest_file)?;
        limit(Resource::As, self.most_address_space)?;
        if let Some(Ids { uid, gid: group }) = self.user {
            let (uid, group) = (Uid::from_raw(uid), gid(group));
            // A network without even a loopback: all that it talks to is inherited. Root in a container may not make one.
            let _ = unshare_network();
            set_thread_groups(&self.groups)?;
            set_thread_res_gid(group, group, group)?;
            // Last: with it goes the right to change the others.
            set_thread_res_uid(uid, uid, uid)?;
        }
        set_no_new_privs(true)?;
        close_all_on_exec()
    }
}

fn unshare_network() -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "unsharing some things would be unsafe")]
    // SAFETY: namespaces of network and IPC have nothing to do with memory or descriptors.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWIPC)
    }
}

fn gid(number: u32) -> Gid {
    Gid::from_raw(number)
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = Some(most);
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    match setrlimit(resource, limit) {
        // Somebody has set a lower one already.
        Err(Errno::PERM) => Ok(()),
        set => Ok(set?),
    }
}

const STDERR: RawFd = 2;

/// Marks every descriptor but the standard streams as closed on exec. Ours are already; those that we inherited
/// may not be.
fn close_all_on_exec() -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = openat(CWD, c"/proc/self/fd", flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(listing.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        // It is "." or "..".
        let Some(fd) = number(name) else { continue };
        if fd > STDERR {
            #[expect(
                unsafe_code,
                reason = "a descriptor that is nobody's here can be named by its number only"
            )]
            // SAFETY: it was listed as open, and this process has one thread, which closes none.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            fcntl_setfd(fd, FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}

/// The number that these digits write. Without an allocation, as a parser of texts need not promise.
fn number(digits: &[u8]) -> Option<RawFd> {
    let mut number: RawFd = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add((digit - b'0').into())?;
    }
    Some(number)
}
