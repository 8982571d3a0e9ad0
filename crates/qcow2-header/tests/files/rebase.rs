//! Setting another backing file.

use std::io::Cursor;
use std::path::Path;

use qcow2_header::{Qcow2Error, Qcow2Header, set_backing_file};

use crate::check;
use crate::edits::stored_files;
use crate::qemu::{Disks, qemu_img};

#[test]
fn qemu_follows_the_backing_file_that_was_set_and_finds_nothing_else_changed() {
    for options in ["compat=0.10", "compat=1.1", "extended_l2=on"] {
        let disks = Disks::new(options);
        let (overlay, elsewhere) = (
            disks.path("overlay.qcow2"),
            disks.path("a rather longer name for the base.qcow2"),
        );
        let before = disks.overlay();
        std::fs::rename(disks.path("base.qcow2"), &elsewhere).unwrap();
        let mut file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&overlay)
            .unwrap();
        set_backing_file(&mut file, elsewhere.to_str().unwrap(), "qcow2").unwrap();
        drop(file);

        qemu_img(&["check", "-q", overlay.to_str().unwrap()]);
        let info = qemu_img(&["info", "--output=json", overlay.to_str().unwrap()]);
        let info = String::from_utf8(info.stdout).unwrap();
        assert!(
            info.contains(&format!(
                "\"backing-filename\": \"{}\"",
                elsewhere.display()
            )),
            "{info}"
        );
        assert!(
            info.contains("\"backing-filename-format\": \"qcow2\""),
            "{info}"
        );
        let after = disks.overlay();
        assert!(
            after[0x1000..] == before[0x1000..],
            "{options}: something past the header changed"
        );

        // And back: the same name gives the same bytes.
        let mut file = Cursor::new(after);
        set_backing_file(
            &mut file,
            disks.path("base.qcow2").to_str().unwrap(),
            "qcow2",
        )
        .unwrap();
        assert!(
            file.into_inner() == before,
            "{options}: setting the old name back is not the old file"
        );
    }
}

#[test]
fn a_backing_name_that_does_not_fit_changes_nothing() {
    let disks = Disks::new("cluster_size=512");
    for name in ["", &"x".repeat(400), &"x".repeat(1024)] {
        let mut file = Cursor::new(disks.overlay());
        assert!(matches!(
            set_backing_file(&mut file, name, "qcow2"),
            Err(Qcow2Error::Refused(_))
        ));
        assert!(file.into_inner() == disks.overlay());
    }
}

#[test]
fn a_name_that_is_only_a_path_passes_whatever_is_in_it() {
    let disks = Disks::new("compat=1.1");
    for fine in ["/a/b:c", "./a:b", "a/b:c", "plain"] {
        let mut file = Cursor::new(disks.overlay());
        set_backing_file(&mut file, fine, "raw").unwrap();
        assert_eq!(
            check(file.get_ref()).unwrap().require_overlay().unwrap(),
            (Path::new(fine), "raw")
        );
    }
}

#[test]
fn every_stored_file_that_can_be_given_another_backing_file_is_otherwise_the_same() {
    let mut given = 0;
    for path in stored_files() {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(header) = Qcow2Header::read(Cursor::new(&bytes)) else {
            continue;
        };
        let tables = header.check_tables(Cursor::new(&bytes));
        let mut file = Cursor::new(bytes.clone());
        if set_backing_file(&mut file, "/srv/base.qcow2", "qcow2").is_err() {
            assert!(file.into_inner() == bytes, "{}", path.display());
            continue;
        }
        let rebased = Qcow2Header::read(&mut file).unwrap();
        assert_eq!(rebased.backing.as_ref().unwrap().name, b"/srv/base.qcow2");
        assert_eq!(
            rebased.check_tables(&mut file).map_err(|e| e.to_string()),
            tables.map_err(|e| e.to_string()),
            "{}",
            path.display()
        );
        let once = file.get_ref().clone();
        set_backing_file(&mut file, "/srv/base.qcow2", "qcow2").unwrap();
        assert!(file.into_inner() == once, "{}", path.display());
        given += 1;
    }
    assert!(given >= 10, "{given} files are not the whole corpus");
}

#[test]
fn autoclear_features_that_we_do_not_know_are_cleared_and_the_others_kept() {
    const AUTOCLEAR_AT: usize = 88;
    let disks = Disks::new("compat=1.1");
    let mut bytes = disks.overlay();
    bytes[AUTOCLEAR_AT..][..8].copy_from_slice(&0x101_u64.to_be_bytes());
    let mut file = Cursor::new(bytes);
    set_backing_file(&mut file, "base.qcow2", "qcow2").unwrap();
    let header = Qcow2Header::read(&mut file).unwrap();
    assert_eq!(header.features.autoclear, 1);
}
