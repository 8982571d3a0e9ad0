//! Many who want the same snapshot at once, and those who leave early.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{MockBuilder, MockLayer, layer, moved_to, snapshot, spec, staging};
use async_trait::async_trait;
use cache_key::SnapshotSpec;
use cache_layer::{BuildError, BuildErrorKind, Lookup, Snapshot, SnapshotBuilder, Staging};
use hierarchy::{GetError, Hierarchy, Source, Tier, Unfinished};
use mockall::Sequence;
use tokio::sync::{Notify, Semaphore};

const LONG: Duration = Duration::from_secs(60);

/// A builder whose builds end when they are let go, and that knows how many began, ended and were dropped.
#[derive(Debug, Default)]
struct Gated {
    began: AtomicUsize,
    stopped: Arc<AtomicUsize>,
    changed: Arc<Notify>,
    gate: Gate,
}

#[derive(Debug)]
struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

/// Counts a build that is dropped before its end.
struct Running {
    stopped: Arc<AtomicUsize>,
    changed: Arc<Notify>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopped.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

impl Gated {
    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }

    async fn begun(&self, builds: usize) {
        self.until(|gated| gated.began.load(Ordering::SeqCst) >= builds)
            .await;
    }

    fn let_go(&self) {
        self.gate.0.add_permits(1);
    }
}

#[async_trait]
impl SnapshotBuilder for Gated {
    async fn build(&self, spec: &SnapshotSpec, _: &Staging) -> Result<Snapshot, BuildError> {
        let running = Running {
            stopped: self.stopped.clone(),
            changed: self.changed.clone(),
        };
        self.began.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.gate.0.acquire().await.unwrap().forget();
        std::mem::forget(running);
        Ok(snapshot(spec, "staging"))
    }
}

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gated")
    }
}

/// A local layer that never has anything.
fn forgetful() -> MockLayer {
    let mut l2 = layer("l2-disk");
    l2.expect_get().returning(|_, _| Ok(Lookup::Miss));
    l2.expect_put()
        .returning(|snapshot| Ok(moved_to(snapshot, "l2")));
    l2
}

fn cache(builder: Arc<dyn SnapshotBuilder>, staging: Staging) -> Hierarchy {
    Hierarchy::new([Tier::local(Arc::new(forgetful()))], builder, staging)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_ask_at_once_share_one_build() {
    let (_root, staging) = staging();
    let builder = Arc::new(Gated::default());
    let cache = cache(builder.clone(), staging);
    let askers: Vec<_> = (0..64)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&spec(["a==1"])).await })
        })
        .collect();
    // All of them have asked the layer for themselves, and the one build has asked it once more.
    while cache.stats().layers[0].misses < 65 {
        tokio::task::yield_now().await;
    }
    builder.let_go();
    for asker in askers {
        assert_eq!(asker.await.unwrap().unwrap().source, Source::Built);
    }
    assert_eq!(builder.began.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn different_snapshots_are_built_side_by_side() {
    let (_root, staging) = staging();
    let builder = Arc::new(Gated::default());
    let cache = cache(builder.clone(), staging);
    let (one, two) = (spec(["a==1"]), spec(["b==1"]));
    let both = async { tokio::join!(cache.get(&one), cache.get(&two)) };
    let let_go = async {
        builder.begun(2).await;
        builder.let_go();
        builder.let_go();
    };
    let ((one, two), ()) = tokio::join!(both, let_go);
    assert_ne!(one.unwrap().snapshot.key(), two.unwrap().snapshot.key());
}

#[tokio::test]
async fn a_waiter_that_leaves_harms_nobody_and_the_last_one_stops_the_build() {
    let (_root, staging) = staging();
    let builder = Arc::new(Gated::default());
    let cache = cache(builder.clone(), staging);
    let ask = || {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get(&spec(["a==1"])).await })
    };

    let (first, second) = (ask(), ask());
    builder.begun(1).await;
    // The one that began it leaves.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    builder.let_go();
    assert_eq!(second.await.unwrap().unwrap().source, Source::Built);
    assert_eq!(builder.stopped.load(Ordering::SeqCst), 0);

    let last = ask();
    builder.begun(2).await;
    last.abort();
    let stopped = builder.until(|gated| gated.stopped.load(Ordering::SeqCst) == 1);
    tokio::time::timeout(LONG, stopped).await.unwrap();

    // And the key is free again.
    let again = ask();
    builder.begun(3).await;
    builder.let_go();
    assert_eq!(again.await.unwrap().unwrap().source, Source::Built);
}

#[tokio::test]
async fn everyone_who_waits_gets_the_builders_error() {
    let (_root, staging) = staging();
    let mut builder = MockBuilder::new();
    builder
        .expect_build()
        .times(1)
        .returning(|_, _| Err(BuildError::new(BuildErrorKind::Packages, "no such version")));
    let cache = cache(Arc::new(builder), staging);
    let spec = spec(["a==1"]);
    let (one, two) = tokio::join!(cache.get(&spec), cache.get(&spec));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(matches!(&error, GetError::Build(_)), "{error:?}");
        assert_eq!(error.to_string(), "no such version");
    }
}

#[tokio::test]
async fn a_builder_that_panics_frees_everyone_who_waits_and_the_key() {
    let (_root, staging) = staging();
    let mut builder = MockBuilder::new();
    let mut order = Sequence::new();
    builder
        .expect_build()
        .times(1)
        .in_sequence(&mut order)
        .returning(|_, _| panic!("out of ideas"));
    builder
        .expect_build()
        .times(1)
        .in_sequence(&mut order)
        .returning(|spec, _| Ok(snapshot(spec, "staging")));
    let cache = cache(Arc::new(builder), staging);
    let spec = spec(["a==1"]);
    let (one, two) = tokio::join!(cache.get(&spec), cache.get(&spec));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(matches!(&error, GetError::Panicked { .. }), "{error:?}");
        assert!(error.to_string().contains("out of ideas"), "{error}");
    }
    assert_eq!(cache.get(&spec).await.unwrap().source, Source::Built);
}

#[tokio::test(start_paused = true)]
async fn of_two_hierarchies_on_one_staging_root_one_builds_at_a_time() {
    let (root, staging) = staging();
    let builder = Arc::new(Gated::default());
    let one = cache(builder.clone(), staging);
    let two = cache(builder.clone(), Staging::open(root.path()).unwrap());
    let first = tokio::spawn(async move { one.get(&spec(["a==1"])).await });
    builder.begun(1).await;
    let second = tokio::spawn(async move { two.get(&spec(["a==1"])).await });
    // The other one's layer has missed once; it does not come to a build while the first one has the lock.
    tokio::time::sleep(LONG).await;
    assert_eq!(builder.began.load(Ordering::SeqCst), 1);
    builder.let_go();
    first.await.unwrap().unwrap();
    builder.begun(2).await;
    builder.let_go();
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutting_down_waits_for_uploads_within_its_limit() {
    let (_root, staging) = staging();
    let mut builder = MockBuilder::new();
    builder
        .expect_build()
        .returning(|spec, _| Ok(snapshot(spec, "staging")));
    let remote = Slow(Duration::from_secs(10));
    let tiers = [
        Tier::local(Arc::new(forgetful())),
        Tier::remote(Arc::new(remote)),
    ];
    let cache = Hierarchy::new(tiers, Arc::new(builder), staging);

    let began = tokio::time::Instant::now();
    cache.get(&spec(["a==1"])).await.unwrap();
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "the answer waits for no upload"
    );
    let unfinished = cache.shutdown(Duration::from_secs(4)).await;

    assert_eq!(began.elapsed(), Duration::from_secs(4));
    let key = spec(["a==1"]).key();
    let layer = "slow";
    let resumes = false;
    assert_eq!(
        unfinished,
        [Unfinished {
            key,
            layer,
            resumes
        }]
    );
    assert_eq!(cache.stats().layers[1].puts, 0);
}

/// A remote layer that has nothing and takes its time to store.
#[derive(Debug)]
struct Slow(Duration);

#[async_trait]
impl cache_layer::CacheLayer for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn get(&self, _: &SnapshotSpec, _: &Staging) -> Result<Lookup, cache_layer::LayerError> {
        Ok(Lookup::Miss)
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, cache_layer::LayerError> {
        tokio::time::sleep(self.0).await;
        Ok(snapshot.clone())
    }

    async fn remove(&self, _: &cache_key::CacheKey) -> Result<(), cache_layer::LayerError> {
        Ok(())
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow")
    }
}
