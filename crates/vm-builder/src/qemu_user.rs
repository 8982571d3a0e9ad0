use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

/// Whose process a QEMU is when root starts it. Anybody else can only start their own.
///
/// As text: `own`, `UID` or `UID:GID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QemuUser {
    /// Root's own. What breaks out of such a QEMU is root.
    Own,
    /// That of a user that need not have a name, without any other group, but for that of `/dev/kvm`.
    Other {
        /// The user, not 0.
        uid: u32,
        /// The group, not 0.
        gid: u32,
    },
}

/// The text names no user for QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is no user for QEMU: UID, UID:GID (numbers, not 0) or `own` is expected", .0.escape_debug())]
pub struct ParseQemuUserError(String);

/// Numbers of a user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Nobody's: above what `useradd` gives out (up to 60000), below systemd's dynamic users (from 61184), none that a
/// distribution has given away, and small enough to exist in a container that maps 65536 users. It is not
/// `nobody`, whose processes and files other services have too.
const NOBODY_ELSE: u32 = 60_987;

impl Default for QemuUser {
    /// User and group 60987, which are nobody else's.
    fn default() -> Self {
        Self::Other {
            uid: NOBODY_ELSE,
            gid: NOBODY_ELSE,
        }
    }
}

impl QemuUser {
    /// Who QEMU is to become; `None` when it is to stay who we are.
    pub(crate) fn to_become(self) -> Option<Ids> {
        match self {
            Self::Other { uid, gid } if rustix::process::geteuid().is_root() => {
                Some(Ids { uid, gid })
            }
            _ => None,
        }
    }
}

impl Ids {
    /// Whether a file of that owner, group and mode can be read.
    pub(crate) fn may_read(self, uid: u32, gid: u32, mode: u32) -> bool {
        let class = if uid == self.uid {
            mode >> 6
        } else if gid == self.gid {
            mode >> 3
        } else {
            mode
        };
        class & 0o4 != 0
    }
}

/// The group that has KVM where not everybody has: the only one that a QEMU of another user is in besides its own.
/// Root's never is.
pub(crate) fn kvm_group() -> Option<u32> {
    let device = fs::metadata(Path::new("/dev/kvm")).ok()?;
    group_with_access(device.gid(), device.mode())
}

fn group_with_access(gid: u32, mode: u32) -> Option<u32> {
    let has = |class: u32| class & 0o6 == 0o6;
    (!has(mode) && has(mode >> 3) && gid != 0).then_some(gid)
}

impl FromStr for QemuUser {
    type Err = ParseQemuUserError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "own" {
            return Ok(Self::Own);
        }
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        // The last number means "no change" to the kernel.
        let number = |text: &str| {
            let number = text.parse().ok();
            number.filter(|&number| number != 0 && number != u32::MAX)
        };
        match (number(uid), number(gid)) {
            (Some(uid), Some(gid)) => Ok(Self::Other { uid, gid }),
            _ => Err(ParseQemuUserError(text.to_owned())),
        }
    }
}

impl fmt::Display for QemuUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own"),
            Self::Other { uid, gid } => write!(f, "{uid}:{gid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_number_or_two_and_never_root() {
        let other = |uid, gid| QemuUser::Other { uid, gid };
        for (text, user) in [
            ("own", QemuUser::Own),
            ("1000", other(1000, 1000)),
            ("1000:36", other(1000, 36)),
        ] {
            assert_eq!(text.parse(), Ok(user));
            assert_eq!(user.to_string().parse(), Ok(user));
        }
        for bad in ["", "0", "0:5", "5:0", "nobody", "-1", "1:2:3", "4294967295"] {
            bad.parse::<QemuUser>().unwrap_err();
        }
    }

    #[test]
    fn only_the_group_of_kvm_comes_along_and_only_where_it_is_needed() {
        for (gid, mode, group) in [
            (108, 0o660, Some(108)),
            (108, 0o666, None),
            (108, 0o600, None),
            (108, 0o640, None),
            (0, 0o660, None),
        ] {
            assert_eq!(group_with_access(gid, mode), group, "{gid} {mode:o}");
        }
    }

    #[test]
    fn a_file_is_read_by_its_owner_its_group_or_everybody() {
        let ids = Ids { uid: 5, gid: 6 };
        for (uid, gid, mode, may) in [
            (5, 0, 0o400, true),
            (5, 6, 0o044, false),
            (0, 6, 0o040, true),
            (0, 6, 0o404, false),
            (0, 0, 0o444, true),
            (0, 0, 0o440, false),
        ] {
            assert_eq!(ids.may_read(uid, gid, mode), may, "{uid} {gid} {mode:o}");
        }
    }
}
