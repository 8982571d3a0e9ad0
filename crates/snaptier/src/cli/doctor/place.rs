//! The directories that are written to: whether that can be, and how much room there is.

use std::io;
use std::path::{Path, PathBuf};

use cache_layer::blocking;
use indicatif::HumanBytes;
use l2_disk::Budget;
use rustix::fs::{statfs, statvfs};
use snaptier::Settings;

use super::finding::{Finding, Status};

/// A directory, or what there is on the way to it.
#[derive(Debug)]
struct Seen {
    dir: PathBuf,
    /// The directory is not there yet; it will be made.
    is_new: bool,
    writable: Result<(), String>,
    file_system: String,
    /// Bytes that this user may still write.
    free: u64,
}

/// Less than this holds no snapshot worth the name.
const TOO_LITTLE: u64 = 64 << 20;
/// Less than this is soon used up by snapshots with large packages, or by an image.
const LITTLE: u64 = 1 << 30;

pub(crate) async fn cache_dir(settings: &Settings) -> Finding {
    let remedy = "name another one with --cache-dir or SNAPTIER_CACHE_DIR";
    match look(&settings.cache_dir).await {
        Ok(seen) => judge_cache_dir(&seen, settings.budget, remedy),
        Err(error) => unseen("cache directory", &settings.cache_dir, &error, remedy),
    }
}

pub(crate) async fn image_dir(settings: &Settings) -> Finding {
    let remedy = "name another one with --image-dir or SNAPTIER_IMAGE_DIR";
    match look(&settings.image_dir).await {
        Ok(seen) => judge_image_dir(&seen, remedy),
        Err(error) => unseen("image directory", &settings.image_dir, &error, remedy),
    }
}

/// The directory of a remote store, of which nobody else need be asked anything.
pub(crate) async fn remote_dir(dir: &Path) -> Finding {
    let remedy =
        "name another store with --remote or SNAPTIER_REMOTE; until then nothing is shared";
    let finding = match look(dir).await {
        Ok(seen) => judge("remote", &seen, remedy, ""),
        Err(error) => unseen("remote", dir, &error, remedy),
    };
    match finding.status {
        // A `get` steps over it.
        Status::Failed => Finding {
            status: Status::Warning,
            ..finding
        },
        _ => finding,
    }
}

async fn look(dir: &Path) -> io::Result<Seen> {
    let dir = std::path::absolute(dir)?;
    blocking(move || {
        let there = dir.ancestors().find(|ancestor| ancestor.exists());
        let there = there.unwrap_or(Path::new("/"));
        let (kind, room) = (statfs(there)?, statvfs(there)?);
        // A file that has a name for no longer than it takes to remove it.
        let writable = tempfile::tempfile_in(there).map(drop);
        Ok(Seen {
            is_new: there != dir,
            writable: writable.map_err(|error| format!("{}: {error}", there.display())),
            file_system: file_system(kind.f_type as u64),
            free: room.f_bavail * room.f_frsize,
            dir,
        })
    })
    .await
}

/// The name of a file system by the number that the kernel gives it (`statfs(2)`).
fn file_system(number: u64) -> String {
    let name = match number & 0xffff_ffff {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        other => return format!("file system {other:#x}"),
    };
    name.to_owned()
}

fn judge_cache_dir(seen: &Seen, budget: Budget, remedy: &str) -> Finding {
    const CHECK: &str = "cache directory";
    let mut limits = String::new();
    if let Some(most) = budget.max_bytes {
        limits = format!(", at most {} of snapshots", HumanBytes(most));
    }
    if budget.min_free_bytes > 0 {
        limits = format!(
            "{limits}, {} to stay free",
            HumanBytes(budget.min_free_bytes)
        );
    }
    let finding = judge(CHECK, seen, remedy, &limits);
    if finding.status == Status::Ok && seen.free < budget.min_free_bytes {
        let remedy = "snapshots go for it with each that is stored: make room, or lower --min-free";
        return Finding::warning(CHECK, finding.found, remedy);
    }
    finding
}

fn judge_image_dir(seen: &Seen, remedy: &str) -> Finding {
    let finding = judge("image directory", seen, remedy, "");
    match finding.status {
        // What is in it can be used all the same; whether that is enough is told for each language.
        Status::Failed => Finding {
            status: Status::Warning,
            ..finding
        },
        _ => finding,
    }
}

fn judge(check: &str, seen: &Seen, remedy: &str, limits: &str) -> Finding {
    let (dir, free) = (seen.dir.display(), HumanBytes(seen.free));
    let state = if seen.is_new {
        ", made when it is needed"
    } else {
        ""
    };
    let found = format!("`{dir}`: {}, {free} free{limits}{state}", seen.file_system);
    match &seen.writable {
        Err(why) => Finding::failed(
            check,
            format!("`{dir}` cannot be written to: {why}"),
            remedy,
        ),
        Ok(()) if seen.free < TOO_LITTLE => {
            Finding::failed(check, found, format!("make room, or {remedy}"))
        }
        Ok(()) if seen.free < LITTLE => Finding::warning(
            check,
            found,
            "make room: large packages will soon find none",
        ),
        Ok(()) => Finding::ok(check, found),
    }
}

fn unseen(check: &str, dir: &Path, error: &io::Error, remedy: &str) -> Finding {
    Finding::failed(check, format!("`{}`: {error}", dir.display()), remedy)
}

#[cfg(test)]
mod tests {
    use super::super::finding::assert_judged;
    use super::*;

    fn seen(writable: Result<(), String>, free: u64) -> Seen {
        Seen {
            dir: "/cache".into(),
            is_new: false,
            writable,
            file_system: "ext4".to_owned(),
            free,
        }
    }

    #[test]
    fn a_directory_is_judged_by_whether_it_can_be_written_to_and_by_its_room() {
        for (writable, free, status, word) in [
            (
                Ok(()),
                10 << 30,
                Status::Ok,
                "`/cache`: ext4, 10.00 GiB free",
            ),
            (Ok(()), LITTLE - 1, Status::Warning, "make room"),
            (Ok(()), TOO_LITTLE - 1, Status::Failed, "make room"),
            (
                Err("/: read-only".to_owned()),
                10 << 30,
                Status::Failed,
                "--cache-dir",
            ),
        ] {
            let finding = judge_cache_dir(&seen(writable, free), Budget::default(), "--cache-dir");
            assert_judged(&finding, status, word);
        }
    }

    #[test]
    fn limits_are_told_and_one_that_is_not_kept_is_a_warning() {
        let budget = Budget {
            max_bytes: Some(20 << 30),
            min_free_bytes: 11 << 30,
        };
        let finding = judge_cache_dir(&seen(Ok(()), 12 << 30), budget, "");
        assert_judged(
            &finding,
            Status::Ok,
            "at most 20.00 GiB of snapshots, 11.00 GiB to stay free",
        );
        let finding = judge_cache_dir(&seen(Ok(()), 10 << 30), budget, "");
        assert_judged(&finding, Status::Warning, "--min-free");
    }

    #[test]
    fn images_can_be_used_in_a_directory_that_can_only_be_read() {
        let read_only = seen(Err("/: read-only".to_owned()), 10 << 30);
        assert_judged(
            &judge_image_dir(&read_only, "--image-dir"),
            Status::Warning,
            "--image-dir",
        );
    }

    #[tokio::test]
    async fn looking_at_a_directory_that_is_not_there_makes_none() {
        let dir = tempfile::tempdir().unwrap();
        let seen = look(&dir.path().join("a/b")).await.unwrap();
        assert!(seen.is_new && seen.writable.is_ok(), "{seen:?}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
