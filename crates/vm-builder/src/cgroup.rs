//! A control group (cgroup v2) for each QEMU, below this process's own, where that is permitted.
//!
//! A group that holds processes cannot share its controllers out, so there are two places where a leaf can
//! be: in our own group if it is the root of all, else beside it, in a parent that was delegated to us. systemd
//! makes such a parent for a service with `Delegate=yes` and `DelegateSubgroup=`, and marks it so. Nobody else's
//! group is touched, and no limit that was set on us is left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::getxattr;
use thiserror::Error;

/// What a leaf's processes may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    memory_bytes: u64,
    cpus: u32,
    threads: u64,
}

/// A group with one QEMU in it. Dropping it removes it; its process must be gone by then.
#[derive(Debug)]
pub(crate) struct Leaf {
    dir: PathBuf,
    processes: File,
}

/// Why there is no leaf.
#[derive(Debug, Error)]
pub(crate) enum NotPermitted {
    #[error("this process is in no control group of version 2")]
    NoGroup,
    #[error("`{}` shares no controller out, and what it lies in was not delegated to this process", .0.display())]
    NoController(PathBuf),
    #[error("`{}` cannot be used", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Besides the guest's memory: the translator's buffer, at most 1 GiB, and QEMU itself.
const MEMORY_BESIDES: u64 = 3 << 29;
/// Besides a thread for each processor: those of the main loop, and those that wait for the disk, at most 64.
const THREADS_BESIDES: u64 = 128;
const PERIOD_MICROS: u64 = 100_000;

impl Limits {
    pub(crate) fn of_machine(memory_bytes: u64, cpus: u32) -> Self {
        Self {
            memory_bytes: memory_bytes.saturating_add(MEMORY_BESIDES),
            cpus,
            threads: THREADS_BESIDES + u64::from(cpus),
        }
    }

    /// The files that say so, and what they say.
    fn files(self) -> [(&'static str, String); 3] {
        let quota = u64::from(self.cpus) * PERIOD_MICROS;
        [
            ("memory.max", self.memory_bytes.to_string()),
            ("cpu.max", format!("{quota} {PERIOD_MICROS}")),
            ("pids.max", self.threads.to_string()),
        ]
    }
}

impl Leaf {
    /// Makes one, and removes those that dead processes left beside it.
    pub(crate) fn make(limits: Limits) -> Result<Self, NotPermitted> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|source| NotPermitted::Io {
                path: path.into(),
                source,
            })
        };
        let own = own_group(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        let own = own.ok_or(NotPermitted::NoGroup)?;
        Self::make_in(&home(&own)?, limits)
    }

    fn make_in(home: &Path, limits: Limits) -> Result<Self, NotPermitted> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        sweep(home);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = home.join(format!("{PREFIX}{}-{number}", std::process::id()));
        let make = || {
            fs::create_dir(&dir)?;
            let processes = OpenOptions::new()
                .write(true)
                .open(dir.join("cgroup.procs"));
            let leaf = Self {
                processes: processes.inspect_err(|_| remove(&dir))?,
                dir: dir.clone(),
            };
            for (file, limit) in limits.files() {
                match write(&dir.join(file), &limit) {
                    // A controller that is not shared out.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    written => written?,
                }
            }
            Ok(leaf)
        };
        make().map_err(|source| NotPermitted::Io {
            path: dir.clone(),
            source,
        })
    }

    /// Moves the calling process into the leaf. Makes one system call, so that it may stand between fork and
    /// exec. One that is refused leaves the process where it is: then it is not permitted here.
    pub(crate) fn join(&self) {
        let _ = rustix::io::write(&self.processes, b"0");
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// The start of a leaf's name; the number of the process that made it follows.
const PREFIX: &str = "snaptier-";

/// Removes what processes that no longer live have left. What is in use cannot be removed.
fn sweep(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| {
            let (maker, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
            maker.parse::<u32>().ok()
        });
        if maker.is_some_and(|maker| !Path::new("/proc").join(maker.to_string()).exists()) {
            remove(&entry.path());
        }
    }
}

fn remove(dir: &Path) {
    if let Err(error) = fs::remove_dir(dir) {
        tracing::debug!(path = %dir.display(), %error, "a control group stays behind until the next start");
    }
}

/// The directory of this process's group, by `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn own_group(mounts: &str, groups: &str) -> Option<PathBuf> {
    // Version 2 is hierarchy 0 and names no controller.
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        // A part of the tree may be mounted, and we need not be in it.
        let below = Path::new(own).strip_prefix(root).ok()?;
        Some(Path::new(at).join(below))
    })
}

/// Where leaves of this group can be: in it, or beside it.
fn home(own: &Path) -> Result<PathBuf, NotPermitted> {
    if shares_out(own) {
        return Ok(own.to_owned());
    }
    let parent = own.parent().filter(|parent| is_delegated(parent));
    if let Some(parent) = parent {
        if !shares_out(parent) {
            // It may be that nobody has asked for them yet.
            for controller in ["+memory", "+cpu", "+pids"] {
                let _ = write(&parent.join(SHARED_OUT), controller);
            }
        }
        if shares_out(parent) {
            return Ok(parent.to_owned());
        }
    }
    Err(NotPermitted::NoController(own.to_owned()))
}

/// Makes no file: the kernel makes those of a group.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

const SHARED_OUT: &str = "cgroup.subtree_control";

fn shares_out(group: &Path) -> bool {
    let shared = fs::read_to_string(group.join(SHARED_OUT)).unwrap_or_default();
    shared
        .split_whitespace()
        .any(|controller| controller == "memory" || controller == "cpu")
}

/// By systemd's mark, of which there is one that only root can set.
fn is_delegated(group: &Path) -> bool {
    let mark = |name| {
        let mut value = [0; 8];
        let length = getxattr(group, name, &mut value).unwrap_or(0);
        value[..length] == *b"1"
    };
    mark("trusted.delegate") || mark("user.delegate")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_machine_has_its_memory_its_processors_and_a_bit_more() {
        let files = Limits::of_machine(1 << 30, 2).files();
        assert_eq!(
            files.map(|(file, limit)| format!("{file}={limit}")),
            [
                "memory.max=2684354560",
                "cpu.max=200000 100000",
                "pids.max=130"
            ]
        );
    }

    #[test]
    fn the_group_of_this_process_is_found_wherever_it_is_mounted() {
        let cgroup2 = |root: &str, at: &str| {
            format!(
                "24 18 0:21 / /proc rw - proc proc rw\n30 24 0:26 {root} {at} rw,relatime - cgroup2 cgroup2 rw\n"
            )
        };
        let other = "9:name=systemd:/x\n0::/user.slice/a.scope\n";
        for (mounts, groups, found) in [
            (
                cgroup2("/", "/sys/fs/cgroup"),
                other,
                Some("/sys/fs/cgroup/user.slice/a.scope"),
            ),
            (cgroup2("/user.slice", "/mnt"), other, Some("/mnt/a.scope")),
            (cgroup2("/system.slice", "/mnt"), other, None),
            (
                cgroup2("/", "/sys/fs/cgroup"),
                "0::/\n",
                Some("/sys/fs/cgroup/"),
            ),
            (cgroup2("/", "/sys/fs/cgroup"), "4:memory:/a\n", None),
            (String::new(), other, None),
        ] {
            let own = own_group(&mounts, groups);
            assert_eq!(own.as_deref(), found.map(Path::new), "{mounts}");
        }
    }

    /// A tree that looks like the kernel's.
    fn tree(parent_shares: &str, own_shares: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(dir.path().join(SHARED_OUT), parent_shares).unwrap();
        fs::write(own.join(SHARED_OUT), own_shares).unwrap();
        dir
    }

    #[test]
    fn a_leaf_is_made_in_our_group_or_beside_it_where_that_was_delegated_and_nowhere_else() {
        let own = |tree: &tempfile::TempDir| tree.path().join("own");
        let root = tree("", "cpu memory");
        assert_eq!(home(&own(&root)).unwrap(), own(&root));

        let undelegated = tree("cpu memory pids", "");
        let error = home(&own(&undelegated)).unwrap_err();
        assert!(
            error.to_string().contains("own` shares no controller out"),
            "{error}"
        );

        let delegated = tree("cpu memory pids", "");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(delegated.path(), "user.delegate", b"1", flags).unwrap();
        assert_eq!(home(&own(&delegated)).unwrap(), delegated.path());
    }

    #[test]
    fn a_process_joins_a_leaf_which_goes_when_the_process_has_gone() {
        let read = |path| fs::read_to_string(path).unwrap();
        let mounts = read("/proc/self/mountinfo");
        let Some(own) = own_group(&mounts, &read("/proc/self/cgroup")) else {
            let error = Leaf::make(Limits::of_machine(1 << 30, 1)).unwrap_err();
            assert!(matches!(error, NotPermitted::NoGroup), "{error}");
            return;
        };
        // The kernel's own tree, in whatever state it is on this host: with no controller, a leaf has no limits.
        let leaf = match Leaf::make_in(&own, Limits::of_machine(1 << 30, 1)) {
            Ok(leaf) => leaf,
            Err(error) => {
                let path = own.join(format!("{PREFIX}probe"));
                fs::create_dir(path).unwrap_err();
                assert!(matches!(error, NotPermitted::Io { .. }), "{error}");
                return;
            }
        };
        let dead = own.join(format!("{PREFIX}{}-0", 1 << 30));
        fs::create_dir(&dead).unwrap();

        let mut child = Command::new("cat");
        child.stdin(Stdio::piped());
        let dir = leaf.dir.clone();
        let mut joined = child.spawn().unwrap();
        fs::write(dir.join("cgroup.procs"), joined.id().to_string()).unwrap();
        let second = Leaf::make_in(&own, Limits::of_machine(1 << 30, 1)).unwrap();
        assert!(!dead.exists(), "what a dead process left was not swept");
        assert!(dir.exists(), "what is in use was swept");
        let name = dir.file_name().unwrap().to_str().unwrap();
        let groups = read(&format!("/proc/{}/cgroup", joined.id()));
        assert!(groups.contains(name), "{groups}");

        joined.kill().unwrap();
        joined.wait().unwrap();
        drop((leaf, second));
        assert!(!dir.exists());
    }
}
