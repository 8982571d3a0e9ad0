/// How the command ends. A script can act on each of these; they stay what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Request = 2,
    Packages = 3,
    Temporary = 4,
    Host = 5,
    Unsound = 6,
    Absent = 7,
    Interrupted = 130,
    Unread = 141,
    Terminated = 143,
}

/// The one list of them, for `--help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    done
  1    snaptier itself failed
  2    the request is wrong: an unknown language, an unpinned package, a bad option, a disk that is no image
  3    the packages cannot be installed: no such version, a conflict
  4    it may work later: the network, a time-out, an upload that was to be made now
  5    this host lacks something: a program, a permission, room on the disk
  6    a snapshot that was to be verified cannot be used
  7    the snapshot that is named is not there; `explain`: no tier would have it
  130  interrupted
  141  nobody reads the output of `run` any more
  143  terminated
`snaptier run` ends with the exit code of its command; 128 and the signal's number if one killed it.";
