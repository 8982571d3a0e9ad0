//! Any bytes are a qcow2 file or an error, and one that is given another backing file is otherwise the same.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use qcow2_header::{Qcow2Header, set_backing_file};

const BASE: &str = "/srv/images/base.qcow2";

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Qcow2Header::read(Cursor::new(bytes)) else {
        return;
    };
    let tables = header.check_tables(Cursor::new(bytes));
    let overlay = header.require_overlay();
    let standalone = header.require_standalone();
    assert!(overlay.is_err() || standalone.is_err());

    let mut file = Cursor::new(bytes.to_vec());
    if set_backing_file(&mut file, BASE, "qcow2").is_err() {
        assert_eq!(file.get_ref(), bytes, "an error changed the file");
        return;
    }
    let rebased = Qcow2Header::read(&mut file).expect("what is written reads");
    let backing = rebased.backing.as_ref().expect("it was set");
    assert_eq!(backing.name, BASE.as_bytes());
    assert_eq!(backing.format.as_deref(), Some("qcow2"));
    assert_eq!(rebased.check_tables(&mut file).is_ok(), tables.is_ok());
    // Setting it removes nothing that was to be refused for another reason.
    if overlay.is_ok() || standalone.is_ok() {
        assert!(rebased.require_overlay().is_ok());
    }
    let once = file.get_ref().clone();
    set_backing_file(&mut file, BASE, "qcow2").expect("what fits once fits twice");
    assert_eq!(*file.get_ref(), once);
});
