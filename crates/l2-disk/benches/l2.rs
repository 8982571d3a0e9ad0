//! What the layer costs, beside what it cannot do without and what it does without. `cargo xtask bench l2` prints
//! the ratios.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cache_layer::{CacheLayer, Lookup};
use criterion::{Criterion, criterion_group, criterion_main};
use l2_disk::{Budget, DiskLayer};
use tokio::runtime::Runtime;

#[path = "../tests/local_disk/host.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod host;

use host::{Host, REQUESTS};

const ENTRIES: [usize; 3] = [10, 1_000, 100_000];

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = lookups, unavoidable, put, evict
}
criterion_main!(benches);

/// A hit and a miss among few and many entries.
fn lookups(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let host = Host::new();
    drop(runtime.block_on(host.put(REQUESTS)));
    let staging = host.layer.staging().unwrap();
    let (there, absent) = (host.spec(), host.disks.spec("idna==3.7"));
    let mut filled = 1;
    for entries in ENTRIES {
        fill(host.layer.root(), filled..entries);
        filled = entries;
        for (name, spec, is_hit) in [("hit", &there, true), ("miss", &absent, false)] {
            criterion.bench_function(&format!("{name} among {entries}"), |bench| {
                bench.iter(|| {
                    let looked: Lookup = runtime.block_on(host.layer.get(spec, staging)).unwrap();
                    assert_eq!(looked.is_hit(), is_hit);
                });
            });
        }
    }
}

/// What a hit must do, and what others do on one.
fn unavoidable(criterion: &mut Criterion) {
    let host = Host::new();
    drop(Runtime::new().unwrap().block_on(host.put(REQUESTS)));
    let entry = host.entry();
    criterion.bench_function("bare open, fstat, read, lock", |bench| {
        let mut header = [0; 4096];
        bench.iter(|| {
            let mut file = File::open(&entry).unwrap();
            file.lock_shared().unwrap();
            black_box(file.metadata().unwrap());
            file.read_exact(&mut header).unwrap();
        });
    });
    criterion.bench_function("qemu-img check", |bench| {
        bench.iter(|| {
            let mut check = Command::new("qemu-img");
            check
                .args(["check", "-q"])
                .arg(&entry)
                .stdout(Stdio::null());
            assert!(check.status().unwrap().success());
        });
    });
}

/// Taking in 100 MB from staging: linked, checked, hashed, written to the end.
fn put(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let host = Host::new();
    let source = host.dir.path().join("random");
    let random: Vec<u8> = (0..25_000_000_u32)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes())
        .collect();
    fs::write(&source, random).unwrap();
    let overlay = host.dir.path().join("overlay.qcow2");
    fs::remove_file(&overlay).unwrap();
    host::overlay_of_size(host.base(), &overlay, "128M");
    let write = format!("write -q -s {} 0 100000000", source.display());
    let written = Command::new("qemu-io")
        .args(["-f", "qcow2", "-c", &write])
        .arg(&overlay)
        .status();
    assert!(written.unwrap().success());
    let mut group = criterion.benchmark_group("put");
    group.sample_size(10);
    group.bench_function("100 MB", |bench| {
        bench.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let built = host.disks.staged(&host.layer, REQUESTS);
                let began = Instant::now();
                let stored = runtime.block_on(host.layer.put(&built)).unwrap();
                took += began.elapsed();
                let key = stored.key().clone();
                drop(stored);
                runtime.block_on(host.layer.remove(&key)).unwrap();
            }
            took
        });
    });
}

/// Making room for one among few and many entries.
fn evict(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("evict one of");
    group.sample_size(10);
    for entries in ENTRIES {
        let dir = tempfile::tempdir().unwrap();
        let layer = DiskLayer::open(dir.path()).unwrap();
        fill(dir.path(), 0..entries);
        let all = runtime.block_on(layer.entries()).unwrap();
        let held: u64 = all.iter().map(|entry| entry.disk_bytes).sum();
        let budget = Budget {
            max_bytes: Some(held - 1),
            min_free_bytes: 0,
        };
        let mut next = entries;
        group.bench_function(entries.to_string(), |bench| {
            bench.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    let began = Instant::now();
                    let done = runtime.block_on(layer.collect(budget)).unwrap();
                    took += began.elapsed();
                    assert_eq!(done.evicted.len(), 1);
                    fill(dir.path(), next..next + 1);
                    next += 1;
                }
                took
            });
        });
    }
}

/// Entries that nobody asks for. What is in them is never read.
fn fill(root: &Path, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let entry: PathBuf = root.join(format!("python-v0.1-00000000-{number:016x}.qcow2"));
        fs::write(&entry, "nothing").unwrap();
        fs::write(entry.with_extension("json"), "{}").unwrap();
    }
}
