//! Good files with a few things changed: nothing panics, and what passes does no harm to `qemu-img` either.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use crate::check;
use crate::edits::{Image, stored};

/// Of every kind of file that there is.
const GOOD: &[&str] = &[
    "v2.qcow2",
    "v3.qcow2",
    "compressed-zlib.qcow2",
    "compressed-zstd.qcow2",
    "extended-l2.qcow2",
    "refcounts-of-1-bit.qcow2",
    "refcounts-of-64-bits.qcow2",
    "snapshot-deleted.qcow2",
    "untouched.qcow2",
    "zero-clusters.qcow2",
];
/// A start of `qemu-img` costs some 10 ms.
const SHOWN_TO_QEMU: u32 = 60;
/// Seconds; a check of one of these files takes a hundredth of one.
const RUNS_AWAY_AFTER: &str = "20";

/// Where and what is relative to the file that it happens to.
#[derive(Debug, Clone)]
enum Mutation {
    /// A byte anywhere.
    Byte(prop::sample::Index, u8),
    /// A word of a table or a field of the header gets another value.
    Word(prop::sample::Index, Value),
    /// The file ends early.
    Cut(prop::sample::Index),
    /// Two clusters change places.
    Swap(prop::sample::Index, prop::sample::Index),
}

#[derive(Debug, Clone)]
enum Value {
    /// Any number at all.
    Any(u64),
    /// The present one with one bit flipped.
    Flipped(u32),
    /// Where some cluster of the file is, and perhaps one past it.
    Cluster(prop::sample::Index, u64),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let index = any::<prop::sample::Index>;
        let value = prop_oneof![
            1 => any::<u64>().prop_map(Value::Any),
            2 => (0..64_u32).prop_map(Value::Flipped),
            2 => (index(), prop::sample::select(vec![0, 1, 1 << 62, 1 << 63]))
                .prop_map(|(cluster, flags)| Value::Cluster(cluster, flags)),
        ];
        prop_oneof![
            2 => (index(), any::<u8>()).prop_map(|(at, byte)| Self::Byte(at, byte)),
            6 => (index(), value).prop_map(|(at, value)| Self::Word(at, value)),
            1 => index().prop_map(Self::Cut),
            1 => (index(), index()).prop_map(|(one, other)| Self::Swap(one, other)),
        ]
    }

    fn apply(&self, image: &mut Image, places: &Places) {
        let length = image.0.len();
        let cluster = places.cluster_bytes;
        match self {
            Self::Byte(at, byte) => {
                let at = at.index(length);
                image.0[at] = *byte;
            }
            Self::Word(at, value) => {
                let at = *at.get(&places.words);
                let value = match value {
                    Value::Any(value) => *value,
                    Value::Flipped(bit) => image.u64_at(at) ^ 1 << bit,
                    Value::Cluster(index, flags) => {
                        let past_the_end = length.div_ceil(cluster);
                        (index.index(past_the_end + 1) * cluster) as u64 | flags
                    }
                };
                image.put_u64(at, value);
            }
            Self::Cut(at) => image.0.truncate(at.index(length.max(1))),
            Self::Swap(one, other) => {
                let whole = length / cluster;
                let (one, other) = (one.index(whole) * cluster, other.index(whole) * cluster);
                for at in 0..cluster {
                    image.0.swap(one + at, other + at);
                }
            }
        }
    }
}

/// Where to change a file, as it was before anything in it was changed.
struct Places {
    cluster_bytes: usize,
    /// The words that mean something: in the header, and at the beginning of each table.
    words: Vec<usize>,
}

impl Places {
    fn of(image: &Image) -> Self {
        let mut tables = vec![image.l1(), image.refcount_table(), image.refcount_block()];
        if image.l2() != 0 {
            tables.push(image.l2());
        }
        let in_tables = tables.into_iter().flat_map(|at| (at..at + 128).step_by(8));
        let words = (0..256).step_by(4).chain(in_tables);
        Self {
            cluster_bytes: image.cluster_bytes(),
            words: words.filter(|at| at + 8 <= image.0.len()).collect(),
        }
    }
}

#[test]
fn a_changed_file_makes_nothing_panic_and_one_that_passes_does_qemu_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.qcow2");
    let shown = std::cell::Cell::new(0);
    // A cut moves the words that later mutations would change: it comes last.
    let mutations = proptest::collection::vec(Mutation::any(), 1..5).prop_map(|mut mutations| {
        mutations.sort_by_key(|mutation| matches!(mutation, Mutation::Cut(_)));
        mutations
    });
    let cases = (prop::sample::select(GOOD), mutations);
    proptest!(ProptestConfig::with_cases(4000), |((name, mutations) in cases)| {
        let good = stored(name);
        let places = Places::of(&good);
        let mut changed = good.clone();
        for mutation in &mutations {
            mutation.apply(&mut changed, &places);
        }
        let passes = check(&changed.0).is_ok();
        if passes && changed.0 != good.0 && shown.get() < SHOWN_TO_QEMU {
            shown.set(shown.get() + 1);
            let code = qemu_img_check(&path, &changed.0);
            let is_only_cut = mutations.iter().all(|mutation| matches!(mutation, Mutation::Cut(_)));
            prop_assert!(!is_only_cut || code == 0, "qemu-img check ended with {code} after a cut");
        }
    });
    assert_eq!(
        shown.get(),
        SHOWN_TO_QEMU,
        "too few of the changed files passed to show qemu-img as many as intended"
    );
}

/// Has `qemu-img` look at a file, with nothing behind it. Gives its exit code, which is one that it has
/// documented: it neither crashed nor ran away.
fn qemu_img_check(path: &Path, bytes: &[u8]) -> i32 {
    fs::write(path, bytes).unwrap();
    let filename = serde_json::json!({
        "driver": "qcow2",
        "backing": null,
        "file": { "driver": "file", "filename": path },
    });
    let status = Command::new("timeout")
        .args(["--signal=KILL", RUNS_AWAY_AFTER, "qemu-img", "check", "-q"])
        .arg(format!("json:{filename}"))
        .stderr(Stdio::null())
        .status()
        .expect("coreutils is installed");
    match status.code() {
        Some(code @ (0..=3 | 63)) => code,
        _ => panic!(
            "qemu-img ended with {status} (signal {:?})",
            status.signal()
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), version in 2_u32..4) {
        if bytes.len() >= 8 {
            bytes[..4].copy_from_slice(b"QFI\xfb");
            bytes[4..8].copy_from_slice(&version.to_be_bytes());
        }
        let _ = check(&bytes);
    }
}
