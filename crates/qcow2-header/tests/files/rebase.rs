//! Setting another backing file.

use std::io::Cursor;
use std::path::Path;

use qcow2_header::{Qcow2Error, Qcow2Header, set_backing_file};

use crate::check;
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
