//! What the hierarchy costs on top of the local disk. Each figure is taken beside the one that it is held against, turn
//! by turn. Prints a line of JSON for each; `cargo xtask bench hierarchy` makes a table of them.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![expect(clippy::print_stdout, reason = "it is what a bench is for")]

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cache_key::{BaseImage, CacheKey, DiskFormat, ImageDigest, Language, PackageSet, SnapshotSpec};
use cache_layer::{
    CacheLayer, ContentDigest, Disk, LayerError, Lookup, Manifest, Provenance, Snapshot, Staging,
};
use cache_layer_testkit::doubles::Noop;
use hierarchy::{Deadlines, Hierarchy, Tier};
use jiff::Timestamp;
use l2_disk::DiskLayer;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const HOT_KEYS: usize = 100;
const GETS: usize = 10_000;
const HITS_A_TURN: u32 = 2_000;
const TURNS: usize = 15;

fn main() {
    let host = Host::new();
    added_to_a_hit(&host);
    many_at_once(&host);
    beside_a_stalled_layer(&host);
}

/// One get after the other, of what is there.
fn added_to_a_hit(host: &Host) {
    let (layer, cache) = (&host.layer, host.cache());
    let (staging, spec) = (layer.staging().unwrap(), &host.hot[0]);
    let [alone, within] = turns([
        &|| {
            host.runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..HITS_A_TURN {
                    assert!(layer.get(spec, staging).await.unwrap().is_hit());
                }
                began.elapsed() / HITS_A_TURN
            })
        },
        &|| {
            host.runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..HITS_A_TURN {
                    cache.get(spec).await.unwrap();
                }
                began.elapsed() / HITS_A_TURN
            })
        },
    ]);
    let line = json!({
        "what": "hit",
        "l2_us": micros(alone),
        "hierarchy_us": micros(within),
    });
    println!("{line}");
}

/// A task for each get, all at once.
fn many_at_once(host: &Host) {
    let cache = host.cache();
    let [alone, within] = turns([&|| host.layer_rush(), &|| host.cache_rush(&cache)]);
    let line = json!({
        "what": "many at once",
        "gets": GETS,
        "keys": HOT_KEYS,
        "l2_gets_per_s": rate(alone),
        "hierarchy_gets_per_s": rate(within),
    });
    println!("{line}");
}

/// The same while as many others wait for a layer that does not answer, for what only that layer could have.
fn beside_a_stalled_layer(host: &Host) {
    let (sound, stalled) = (host.cache(), host.cache());
    let mut stuck = JoinSet::new();
    for number in 0..HOT_KEYS {
        let (cache, spec) = (stalled.clone(), host.spec(&format!("cold=={number}")));
        let asked = async move { drop(cache.get(&spec).await) };
        stuck.spawn_on(asked, host.runtime.handle());
    }
    host.runtime.block_on(host.stalled.asked(HOT_KEYS));
    let [without, beside] = turns([&|| host.cache_rush(&sound), &|| host.cache_rush(&stalled)]);
    assert!(stuck.try_join_next().is_none(), "those who need it wait");
    let line = json!({
        "what": "beside a stalled layer",
        "gets_per_s_without": rate(without),
        "gets_per_s_beside": rate(beside),
    });
    println!("{line}");
}

/// The medians of two measurements that take turns.
fn turns(measure: [&dyn Fn() -> Duration; 2]) -> [Duration; 2] {
    let mut taken = [Vec::new(), Vec::new()];
    for turn in 0..=TURNS {
        // Who goes first changes, and the first turn warms up.
        for place in [turn % 2, (turn + 1) % 2] {
            taken[place].push(measure[place]());
        }
    }
    taken.map(|mut times| {
        times.remove(0);
        times.sort();
        times[TURNS / 2]
    })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn rate(time: Duration) -> f64 {
    GETS as f64 / time.as_secs_f64()
}

/// A local disk with what is often asked for on it.
struct Host {
    runtime: Runtime,
    layer: DiskLayer,
    base: BaseImage,
    hot: Vec<SnapshotSpec>,
    stalled: Arc<Stalled>,
    _dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (base, overlay) = (
            dir.path().join("base.qcow2"),
            dir.path().join("overlay.qcow2"),
        );
        qemu_img(&["create", "-q", "-f", "qcow2", base.to_str().unwrap(), "4M"]);
        let backing = ["-F", "qcow2", "-b", base.to_str().unwrap()];
        let create = ["create", "-q", "-f", "qcow2", overlay.to_str().unwrap()];
        qemu_img(&[&create[..], &backing[..]].concat());
        let digest = ContentDigest::of_file(&base).unwrap().to_bytes();
        let digest = ImageDigest::from_bytes(digest);
        let runtime = Runtime::new().unwrap();
        let mut host = Self {
            layer: DiskLayer::open(&dir.path().join("cache")).unwrap(),
            base: BaseImage::new(&base, DiskFormat::Qcow2, digest),
            hot: Vec::new(),
            stalled: Arc::default(),
            runtime,
            _dir: dir,
        };
        let hot = (0..HOT_KEYS).map(|number| host.spec(&format!("hot=={number}")));
        host.hot = hot.collect();
        for spec in &host.hot {
            host.put(spec, &overlay);
        }
        host
    }

    fn spec(&self, package: &str) -> SnapshotSpec {
        let packages = PackageSet::parse(Language::Python, [package]).unwrap();
        SnapshotSpec::new(self.base.clone(), packages)
    }

    fn put(&self, spec: &SnapshotSpec, overlay: &Path) {
        let disk = Disk::of_reader(fs::File::open(overlay).unwrap(), 4 << 20).unwrap();
        let provenance = Provenance::new(Timestamp::UNIX_EPOCH, "bench");
        let manifest = Manifest::new(spec.canonical(), disk, provenance);
        let file = self.layer.staging().unwrap().file(manifest.key());
        fs::copy(overlay, file.path()).unwrap();
        let snapshot = Snapshot::new(file.path().to_owned(), manifest).held_by(file);
        self.runtime.block_on(self.layer.put(&snapshot)).unwrap();
    }

    /// The disk, and under it a layer that does not answer.
    fn cache(&self) -> Hierarchy {
        let tiers = [
            Tier::local(Arc::new(self.layer.clone())),
            Tier::remote(self.stalled.clone()).with_deadlines(Deadlines::NONE),
        ];
        let staging = self.layer.staging().unwrap().clone();
        Hierarchy::new(tiers, Arc::new(Noop::new()), staging)
    }

    fn layer_rush(&self) -> Duration {
        self.rush(|spec| {
            let layer = self.layer.clone();
            async move {
                let staging = layer.staging().unwrap();
                assert!(layer.get(&spec, staging).await.unwrap().is_hit());
            }
        })
    }

    fn cache_rush(&self, cache: &Hierarchy) -> Duration {
        self.rush(|spec| {
            let cache = cache.clone();
            async move { drop(cache.get(&spec).await.unwrap()) }
        })
    }

    /// How long so many gets of the hot keys take together.
    fn rush<F: Future<Output = ()> + Send + 'static>(
        &self,
        get: impl Fn(SnapshotSpec) -> F,
    ) -> Duration {
        self.runtime.block_on(async {
            let began = Instant::now();
            let mut gets = JoinSet::new();
            for number in 0..GETS {
                gets.spawn(get(self.hot[number % HOT_KEYS].clone()));
            }
            gets.join_all().await;
            began.elapsed()
        })
    }
}

fn qemu_img(args: &[&str]) {
    let made = Command::new("qemu-img").args(args).status();
    assert!(made.expect("qemu-img is installed").success());
}

/// A layer that never answers, and knows how many asked.
#[derive(Debug)]
struct Stalled(tokio::sync::Semaphore);

impl Default for Stalled {
    fn default() -> Self {
        Self(tokio::sync::Semaphore::new(0))
    }
}

impl Stalled {
    async fn asked(&self, times: usize) {
        let asked = self.0.acquire_many(u32::try_from(times).unwrap());
        asked.await.unwrap().forget();
    }
}

#[async_trait]
impl CacheLayer for Stalled {
    fn name(&self) -> &'static str {
        "stalled"
    }

    async fn get(&self, _: &SnapshotSpec, _: &Staging) -> Result<Lookup, LayerError> {
        self.0.add_permits(1);
        std::future::pending().await
    }

    async fn put(&self, _: &Snapshot) -> Result<Snapshot, LayerError> {
        std::future::pending().await
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), LayerError> {
        std::future::pending().await
    }
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stalled")
    }
}
