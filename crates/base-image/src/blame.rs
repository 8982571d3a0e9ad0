//! Whose matter the failure of a program is, told from what it said: its exit status is the same for a mirror that is
//! down and for a disk that is full.

use crate::ImageErrorKind;

/// What a failed program said comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blame {
    pub(crate) kind: ImageErrorKind,
    pub(crate) remedy: Option<&'static str>,
}

/// What the caller can do about a program that failed with this output.
///
/// An output that says nothing known is of [`ImageErrorKind::Internal`]: the recipes are ours.
pub(crate) fn blame(output: &str) -> Blame {
    let lines = || output.lines().filter(|line| !is_passed_over(line));
    let found = CLUES
        .iter()
        .find(|clue| lines().any(|line| clue.signs.iter().any(|sign| line.contains(sign))));
    found.map_or(UNKNOWN, |clue| clue.blame)
}

/// What apt says of what it got over.
fn is_passed_over(line: &str) -> bool {
    ["W: ", "Ign:"].iter().any(|start| line.starts_with(start))
}

struct Clue {
    signs: &'static [&'static str],
    blame: Blame,
}

const UNKNOWN: Blame = Blame {
    kind: ImageErrorKind::Internal,
    remedy: None,
};

const fn host(remedy: &'static str) -> Blame {
    Blame {
        kind: ImageErrorKind::Host,
        remedy: Some(remedy),
    }
}

/// The first that fits counts: a file that could not be fetched for want of room is no matter of the network.
const CLUES: [Clue; 5] = [
    Clue {
        signs: &[
            "No space left on device",
            "You don't have enough free space",
            "Disk quota exceeded",
        ],
        blame: host(
            "make room where images are kept and in TMPDIR, or name another place with --image-dir or \
             SNAPTIER_IMAGE_DIR",
        ),
    },
    Clue {
        signs: &[
            "Permission denied",
            "Operation not permitted",
            "Read-only file system",
        ],
        blame: host(
            "let this user read what is named and write where images are kept, or name another place with \
             --image-dir or SNAPTIER_IMAGE_DIR",
        ),
    },
    Clue {
        signs: &["unable to pick chroot mode automatically"],
        blame: host(
            "make the image as root, or let this user have user namespaces: install uidmap and give it subordinate \
             ids in /etc/subuid and /etc/subgid",
        ),
    },
    Clue {
        signs: &[
            // Apt's, each with its reason.
            "Failed to fetch",
            "Could not resolve",
            "Temporary failure resolving",
            "Could not connect",
            "Connection failed",
            "Connection refused",
            "Connection reset",
            "Connection timed out",
            // Pip's. The versions of a pinned installer are there in every index that answers.
            "Temporary failure in name resolution",
            "Read timed out",
            "connection broken by",
            "Max retries exceeded",
            "Server Error: ",
            "(from versions: none)",
        ],
        blame: Blame {
            kind: ImageErrorKind::Temporary,
            remedy: None,
        },
    },
    Clue {
        signs: &["does not have a Release file"],
        blame: Blame {
            kind: ImageErrorKind::Request,
            remedy: Some(
                "name a mirror that has this release with --debian-mirror or SNAPTIER_DEBIAN_MIRROR",
            ),
        },
    },
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    const TOOLS: [&str; 5] = ["mmdebstrap", "pip", "qemu-img", "cp", "sh"];

    fn files(dir: &Path) -> Vec<PathBuf> {
        let entries = dir.read_dir().into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// What `tool` really said, with the folder for the kind that it is of.
    fn fixtures(tool: &str) -> Vec<(String, PathBuf, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/image-tools");
        let texts: Vec<_> = files(&root.join(tool))
            .into_iter()
            .flat_map(|kind| {
                let name = kind.file_name().unwrap().to_str().unwrap().to_owned();
                files(&kind).into_iter().map(move |file| {
                    let text = fs::read_to_string(&file).unwrap();
                    (name.clone(), file, text)
                })
            })
            .collect();
        assert!(!texts.is_empty(), "{tool}");
        texts
    }

    #[test]
    fn what_a_tool_says_is_of_the_kind_that_its_folder_names() {
        for (folder, file, text) in TOOLS.iter().flat_map(|tool| fixtures(tool)) {
            let kind = match folder.as_str() {
                "temporary" => ImageErrorKind::Temporary,
                "host" => ImageErrorKind::Host,
                "request" => ImageErrorKind::Request,
                "internal" => ImageErrorKind::Internal,
                other => panic!("{other}"),
            };
            assert_eq!(blame(&text).kind, kind, "{}\n{text}", file.display());
        }
    }

    #[test]
    fn what_this_host_lacks_has_a_remedy_that_fits_it() {
        for (folder, file, text) in TOOLS.iter().flat_map(|tool| fixtures(tool)) {
            if folder != "host" {
                continue;
            }
            let name = file.file_name().unwrap().to_str().unwrap();
            let word = match name {
                name if name.starts_with("disk-full") => "make room",
                name if name.starts_with("mode-missing") => "user namespaces",
                _ => "let this user read",
            };
            let remedy = blame(&text).remedy.unwrap();
            assert!(remedy.contains(word), "{name}: {remedy}");
        }
    }

    #[test]
    fn a_warning_that_apt_got_over_is_no_cause() {
        let warned = "W: Download is performed unsandboxed as root. - pkgAcquire::Run (13: Permission denied)\n";
        assert_eq!(blame(warned), UNKNOWN);
        let down =
            format!("{warned}E: Failed to fetch http://mirror.invalid/x  Connection failed\n");
        assert_eq!(blame(&down).kind, ImageErrorKind::Temporary);
    }

    #[test]
    fn what_nobody_knows_is_our_own_matter() {
        for text in ["", "\n", "Killed", "E: mmdebstrap failed to run\n"] {
            assert_eq!(blame(text), UNKNOWN, "{text}");
        }
    }

    #[test]
    fn a_fixture_names_no_host_but_made_up_ones() {
        for (_, file, text) in TOOLS.iter().flat_map(|tool| fixtures(tool)) {
            for url in text.split("://").skip(1) {
                let host = url.split(['/', ':', ' ', ')', '\'']).next().unwrap();
                assert!(
                    host.ends_with(".example") || host.ends_with(".invalid") || host == "127.0.0.1",
                    "{}: {host}",
                    file.display()
                );
            }
        }
    }
}
