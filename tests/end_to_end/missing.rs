//! A host that lacks something.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::host::{Host, Said};

/// A directory of programs like that of this host, but for `missing`.
fn programs_without(missing: &str, dir: &Path) {
    for bin in ["/usr/bin", "/bin", "/usr/sbin", "/sbin"] {
        for program in fs::read_dir(bin).into_iter().flatten() {
            let program = program.unwrap();
            if program.file_name() != missing {
                // Most of them are in several of these.
                let _ = symlink(program.path(), dir.join(program.file_name()));
            }
        }
    }
}

#[test]
fn a_missing_program_is_told_with_the_package_that_has_it() {
    for (missing, package) in [
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("qemu-img", "qemu-utils"),
    ] {
        let (host, bin) = (Host::new(), tempfile::tempdir().unwrap());
        programs_without(missing, bin.path());
        let mut command = host.snaptier(&["-q", "get", "python", "idna==3.7"]);
        command.env("PATH", bin.path());
        let said = Said::of(command);
        assert_eq!(said.code, Some(5), "{said:?}");
        assert!(
            said.stderr.starts_with(&format!(
                "error: `{missing}` is not installed: install the package {package} "
            )),
            "{said:?}"
        );
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert_eq!((host.entries(), host.staged()), (vec![], vec![]));
    }
}

#[test]
fn a_cache_directory_that_cannot_be_made_is_named() {
    let host = Host::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = file.path().join("cache");
    let said = host.says(&["--cache-dir", dir.to_str().unwrap(), "get", "python"]);
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(
        said.stderr
            .contains(&format!("use the cache directory `{}`", dir.display())),
        "{said:?}"
    );
    assert!(
        said.stderr
            .contains("\nhint: name another one with --cache-dir"),
        "{said:?}"
    );
}
