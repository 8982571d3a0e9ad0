//! Any bytes are a manifest or an error, and a manifest is written as what reads back as itself.

#![no_main]

use cache_layer::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::from_json(bytes) else {
        return;
    };
    let written = manifest.to_json();
    let read = Manifest::from_json(&written).expect("what is written reads");
    assert_eq!(read, manifest);
    assert_eq!(read.to_json(), written);
});
