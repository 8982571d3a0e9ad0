//! The stored files: the good ones pass, each hostile one is refused for its own reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Once;

use qcow2_header::Qcow2Header;

use crate::check;
use crate::edits::{fixtures, stored};
use crate::hostile::{EDITS, Edit};

/// Set to anything, it has the hostile files and their reasons written anew.
const UPDATE: &str = "UPDATE_FIXTURES";
const REASONS: &str = "reasons.json";

#[test]
fn the_good_files_pass() {
    let mut seen = 0;
    for name in qcow2_files(&fixtures()) {
        let bytes = stored(&name).0;
        if name == "standalone.qcow2" {
            let header = Qcow2Header::read(Cursor::new(&bytes)).unwrap();
            header.require_standalone().unwrap();
            header.check_tables(Cursor::new(&bytes)).unwrap();
        } else {
            check(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen} files are not the whole corpus");
}

#[test]
fn the_header_of_an_overlay_takes_one_read_of_4_kib_at_the_most() {
    struct Counted<'a> {
        file: Cursor<Vec<u8>>,
        reads: &'a mut Vec<usize>,
    }
    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.reads.push(buffer.len());
            self.file.read(buffer)
        }
    }
    impl Seek for Counted<'_> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    for name in qcow2_files(&fixtures()) {
        let mut reads = Vec::new();
        let header = Qcow2Header::read(Counted {
            file: Cursor::new(stored(&name).0),
            reads: &mut reads,
        });
        if header.unwrap().backing.is_some() {
            assert!(matches!(reads[..], [..=4096]), "{name}: {reads:?}");
        }
    }
}

#[test]
fn every_hostile_file_is_refused_for_the_reason_stored_with_it() {
    update_if_asked();
    let dir = fixtures().join("hostile");
    let reasons = fs::read(dir.join(REASONS)).unwrap();
    let reasons: BTreeMap<String, String> = serde_json::from_slice(&reasons).unwrap();
    assert_eq!(
        qcow2_files(&dir),
        reasons.keys().cloned().collect(),
        "a file has no reason in {REASONS}, or a reason no file"
    );
    for (name, reason) in &reasons {
        let refused = check(&fs::read(dir.join(name)).unwrap()).map(drop);
        let error = refused.expect_err(name).to_string();
        assert_eq!(&error, reason, "{name}");
    }
}

#[test]
fn every_hostile_file_is_a_good_one_with_its_one_edit() {
    update_if_asked();
    let dir = fixtures().join("hostile");
    let names: BTreeSet<_> = EDITS.iter().map(Edit::file_name).collect();
    assert_eq!(
        names.len(),
        EDITS.len(),
        "two edits make a file of one name"
    );
    assert_eq!(qcow2_files(&dir), names);
    for edit in EDITS {
        let name = edit.file_name();
        assert!(
            fs::read(dir.join(&name)).unwrap() == edit.make(),
            "{name} is not what its edit makes: run the tests with {UPDATE}=1 and review what changed"
        );
    }
}

fn qcow2_files(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".qcow2"))
        .collect()
}

fn update_if_asked() {
    static UPDATED: Once = Once::new();
    if std::env::var_os(UPDATE).is_some() {
        UPDATED.call_once(update);
    }
}

fn update() {
    let dir = fixtures().join("hostile");
    fs::create_dir_all(&dir).unwrap();
    for stale in qcow2_files(&dir) {
        fs::remove_file(dir.join(stale)).unwrap();
    }
    let mut reasons = BTreeMap::new();
    for edit in EDITS {
        let (name, bytes) = (edit.file_name(), edit.make());
        fs::write(dir.join(&name), &bytes).unwrap();
        let error = check(&bytes).map(drop).expect_err(&name);
        reasons.insert(name, error.to_string());
    }
    let mut json = serde_json::to_vec_pretty(&reasons).unwrap();
    json.push(b'\n');
    fs::write(dir.join(REASONS), json).unwrap();
}
