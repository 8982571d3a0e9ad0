//! Manifests as they may be found: those in `fixtures/manifest/good` read, those in `bad` do not, each for the reason
//! in `reasons.json`. It is also what fuzzing starts from.
//!
//! `UPDATE_FIXTURES=1` writes the reasons anew: review them in the diff.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use cache_layer::Manifest;

const REASONS: &str = "reasons.json";

fn corpus(kind: &str) -> (PathBuf, Vec<String>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/manifest");
    let dir = dir.join(kind);
    let names = dir.read_dir().unwrap();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.filter(|name| name != REASONS).collect();
    assert!(names.len() > 5, "{} is nearly empty", dir.display());
    (dir, names)
}

#[test]
fn every_good_one_reads_and_reads_back_from_what_is_written() {
    let (dir, names) = corpus("good");
    for name in names {
        let manifest = Manifest::from_json(&fs::read(dir.join(&name)).unwrap());
        let manifest = manifest.unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = Manifest::from_json(&manifest.to_json()).unwrap();
        assert_eq!(written, manifest, "{name}");
    }
}

#[test]
fn every_bad_one_is_refused_for_its_stored_reason() {
    let (dir, names) = corpus("bad");
    let reasons: BTreeMap<_, _> = names
        .into_iter()
        .map(|name| {
            let read = Manifest::from_json(&fs::read(dir.join(&name)).unwrap());
            let error = read.expect_err(&name);
            let cause = error.source().map(ToString::to_string);
            let reason = [Some(error.to_string()), cause].into_iter().flatten();
            (name, reason.collect::<Vec<_>>().join(": "))
        })
        .collect();
    let file = dir.join(REASONS);
    let told = format!("{}\n", serde_json::to_string_pretty(&reasons).unwrap());
    if std::env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1") {
        fs::write(&file, &told).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), told);
}
