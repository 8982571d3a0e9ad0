//! What is done before what, and what is left.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{CacheLayer, LayerError, LayerErrorKind, Lookup, Snapshot, Staging};
use hierarchy::{Hierarchy, Tier};

use crate::files::{self, Files};
use crate::scene::{Failing, LONG, Scene, notes, paused};

/// A local layer that looks into the outbox when it is to store something, and stores it if it may.
#[derive(Debug)]
struct Looking {
    inner: Files,
    scene: PathBuf,
    stores: bool,
    seen: Arc<Mutex<Vec<String>>>,
    /// Something that each of its snapshots holds.
    held: Mutex<Weak<()>>,
}

#[async_trait]
impl CacheLayer for Looking {
    fn name(&self) -> &'static str {
        "looking"
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        self.inner.get(spec, staging).await
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        self.seen.lock().unwrap().extend(notes(&self.scene));
        if !self.stores {
            return Err(LayerError::new(LayerErrorKind::OutOfSpace, "store it"));
        }
        let held = Arc::new(());
        *self.held.lock().unwrap() = Arc::downgrade(&held);
        Ok(self.inner.put(snapshot).await?.held_by(held))
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        self.inner.remove(key).await
    }
}

impl fmt::Display for Looking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("looking")
    }
}

fn looking(scene: &Scene, stores: bool) -> Arc<Looking> {
    Arc::new(Looking {
        inner: scene.local(),
        scene: scene.path().to_owned(),
        stores,
        seen: Arc::default(),
        held: Mutex::default(),
    })
}

fn cache_of(scene: &Scene, local: Arc<Looking>, remote: impl CacheLayer + 'static) -> Hierarchy {
    let tiers = [Tier::local(local), Tier::remote(Arc::new(remote))];
    Hierarchy::new(tiers, Arc::new(files::Instant), scene.staging()).with_outbox(scene.outbox())
}

pub(crate) fn written_down_first() {
    paused(async {
        let scene = Scene::new();
        let local = looking(&scene, true);
        let cache = cache_of(&scene, local.clone(), scene.remote());
        let spec = scene.spec("a==1");
        cache.get(&spec).await.unwrap();
        let seen = local.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with(&spec.key().to_string()), "{seen:?}");
        assert_eq!(cache.shutdown(LONG).await, []);
        assert_eq!(scene.notes(), [] as [&str; 0]);
        assert_eq!(scene.remote().stored(&spec.key()), 1);
    });
}

pub(crate) fn not_kept() {
    paused(async {
        let scene = Scene::new();
        let remote = Failing::with([]).taking(Duration::from_secs(5));
        let cache = cache_of(&scene, looking(&scene, false), remote.clone());
        let answer = cache.get(&scene.spec("a==1")).await.unwrap();
        assert!(!answer.kept);
        let left = cache.shutdown(Duration::from_secs(1)).await;
        assert!(!left[0].resumes, "{left:?}");
        assert_eq!(remote.keys().len(), 1);
        assert_eq!(scene.notes(), [] as [&str; 0]);
    });
}

pub(crate) fn left_by_a_shutdown() {
    paused(async {
        let scene = Scene::new();
        let (outbox, spec) = (scene.outbox(), scene.spec("a==1"));
        let slow = Failing::with([]).taking(LONG);
        let cache = scene.cache(slow, &outbox);
        cache.get(&spec).await.unwrap();
        let left = cache.shutdown(Duration::from_secs(1)).await;
        assert_eq!(left.len(), 1);
        assert_eq!((&left[0].key, left[0].layer), (&spec.key(), "failing"));
        assert!(left[0].resumes);
        let pending = outbox.pending().await.unwrap();
        assert_eq!(pending[0].attempts, 0, "it was cut off, and did not fail");
        assert_eq!(pending[0].bytes, 6);

        let remote = Failing::with([]);
        let next = scene.cache(remote.clone(), &outbox);
        next.resume();
        assert_eq!(next.shutdown(LONG).await, []);
        assert_eq!(remote.keys(), [spec.key()]);
        assert_eq!(scene.notes(), [] as [&str; 0]);
        let looked = &next.stats().layers[0];
        assert_eq!((looked.hits, looked.misses), (0, 0), "nobody asked for it");
    });
}

/// A remote layer that looks whether what it is given is still held.
#[derive(Debug)]
struct Holding(Arc<Looking>, Arc<AtomicBool>);

#[async_trait]
impl CacheLayer for Holding {
    fn name(&self) -> &'static str {
        "holding"
    }

    async fn get(&self, _: &SnapshotSpec, _: &Staging) -> Result<Lookup, LayerError> {
        Ok(Lookup::Miss)
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let held = self.0.held.lock().unwrap().strong_count() > 0;
        self.1.store(held, Ordering::SeqCst);
        Ok(snapshot.clone())
    }

    async fn remove(&self, _: &CacheKey) -> Result<(), LayerError> {
        Ok(())
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("holding")
    }
}

pub(crate) fn held() {
    paused(async {
        let scene = Scene::new();
        let local = looking(&scene, true);
        let was_held = Arc::new(AtomicBool::new(false));
        let remote = Holding(local.clone(), was_held.clone());
        let cache = cache_of(&scene, local.clone(), remote);
        drop(cache.get(&scene.spec("a==1")).await.unwrap());
        assert_eq!(cache.shutdown(LONG).await, []);
        assert!(was_held.load(Ordering::SeqCst));
        assert_eq!(
            local.held.lock().unwrap().strong_count(),
            0,
            "and then no more"
        );
    });
}

pub(crate) fn in_memory() {
    paused(async {
        let scene = Scene::new();
        let down = LayerErrorKind::Unavailable { temporary: true };
        let remote = Failing::with([down]).taking(Duration::from_secs(5));
        let tiers = [
            Tier::local(Arc::new(scene.local())),
            Tier::remote(Arc::new(remote.clone())),
        ];
        let cache = Hierarchy::new(tiers, Arc::new(files::Instant), scene.staging());
        cache.resume();
        cache.get(&scene.spec("a==1")).await.unwrap();
        tokio::time::sleep(LONG).await;
        assert_eq!(remote.keys().len(), 1);
        cache.get(&scene.spec("b==1")).await.unwrap();
        let left = cache.shutdown(Duration::from_secs(1)).await;
        assert_eq!(left.len(), 1);
        assert!(!left[0].resumes);
        assert!(!scene.path().join("local/.outbox").exists());
    });
}

pub(crate) fn no_such_bucket() {
    paused(async {
        let scene = Scene::new();
        let missing = LayerErrorKind::Unavailable { temporary: false };
        let remote = Failing::with(std::iter::repeat_n(missing, 9));
        let outbox = scene.outbox();
        let cache = scene.cache(remote, &outbox);
        cache.resume();
        let (spec, local) = (scene.spec("a==1"), scene.local());
        let built = cache.get(&spec).await.unwrap();
        assert!(built.kept);
        tokio::time::sleep(LONG).await;
        let hit = cache.get(&spec).await.unwrap();
        assert_eq!(hit.source.as_str(), "local");
        assert_eq!(hit.snapshot.path(), local.disk(&spec.key()));
        assert_eq!(cache.stats().layers[1].put_errors.total(), 1);
        let left = cache.shutdown(LONG).await;
        assert!(left.len() == 1 && left[0].resumes, "{left:?}");
    });
}
