//! What the outbox keeps, and what it lets go of.

use std::fs;
use std::num::NonZero;
use std::time::Duration;

use cache_layer::CacheLayer;
use hierarchy::{OutboxLimits, PendingUpload};

use crate::retries::{DOWN, leave_three, leave_to};
use crate::scene::{Failing, LONG, Scene, paused};

pub(crate) fn hastened_and_forgotten() {
    paused(async {
        let scene = Scene::new();
        let (outbox, remote) = (scene.outbox(), Failing::with([DOWN, DOWN]));
        let cache = scene.cache(remote.clone(), &outbox);
        let [a, b] = ["a==1", "b==1"].map(|package| scene.spec(package));
        cache.get(&a).await.unwrap();
        cache.get(&b).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;

        assert!(outbox.forget(&a.key()).await.unwrap());
        let left = cache.shutdown(LONG).await;
        assert_eq!(
            Vec::from_iter(left.into_iter().map(|left| left.key)),
            [b.key()]
        );
        assert!(!outbox.forget(&a.key()).await.unwrap());
        assert!(!outbox.hasten(&a.key()).await.unwrap());
        assert!(outbox.hasten(&b.key()).await.unwrap());
        let next = scene.cache(remote.clone(), &outbox);
        next.resume();
        assert_eq!(next.shutdown(LONG).await, []);
        assert_eq!(remote.keys(), [a.key(), b.key(), b.key()]);
    });
}

pub(crate) fn full() {
    paused(async {
        let (scene, outbox) = leave_three().await;
        let mut limits = OutboxLimits::default();
        limits.max_entries = NonZero::new(3).unwrap();
        let outbox = outbox.with_limits(limits);
        let cache = scene.cache(Failing::with([]).taking(LONG), &outbox);
        cache.get(&scene.spec("d==1")).await.unwrap();
        cache.shutdown(Duration::ZERO).await;
        let keys = ["b==1", "c==1", "d==1"].map(|package| scene.spec(package).key());
        let pending = outbox.pending().await.unwrap();
        assert_eq!(
            Vec::from_iter(pending.iter().map(key)),
            Vec::from_iter(&keys)
        );
        assert_eq!(outbox.stats().dropped_no_room, 1);
    });
}

pub(crate) fn gone() {
    paused(async {
        let scene = Scene::new();
        let outbox = scene.outbox();
        leave_to(&scene, &outbox, Failing::with([]).shown_as(&scene.remote())).await;
        let evicted = scene.spec("b==1").key();
        scene.local().remove(&evicted).await.unwrap();
        let cache = scene.cache(scene.remote(), &outbox);
        cache.resume();
        assert_eq!(cache.shutdown(LONG).await, []);
        let stored = |package| scene.remote().stored(&scene.spec(package).key());
        assert_eq!(["a==1", "b==1", "c==1"].map(stored), [1, 0, 1]);
        assert_eq!(outbox.stats().dropped_gone, 1);
        assert_eq!(scene.notes(), [] as [&str; 0]);
    });
}

pub(crate) fn no_base_image() {
    paused(async {
        let scene = Scene::new();
        let outbox = scene.outbox();
        leave_to(&scene, &outbox, Failing::with([]).shown_as(&scene.remote())).await;
        fs::remove_file(scene.base()).unwrap();
        let cache = scene.cache(scene.remote(), &outbox);
        cache.resume();
        assert_eq!(cache.shutdown(LONG).await, []);
        assert_eq!(outbox.stats().dropped_gone, 3);
        // It may be there over another base image by now.
        let kept = scene.local().disk(&scene.spec("a==1").key());
        assert!(kept.exists());
    });
}

pub(crate) fn other_remote() {
    paused(async {
        // Left for `failing`, and there is only `remote`.
        let (scene, outbox) = leave_three().await;
        let before = outbox.pending().await.unwrap();
        assert!(before.iter().all(|upload| upload.remote == "failing"));
        let other = scene.cache(scene.remote(), &outbox);
        other.resume();
        assert_eq!(other.shutdown(LONG).await, []);
        assert_eq!(outbox.pending().await.unwrap(), before);
    });
}

fn key(upload: &PendingUpload) -> &cache_key::CacheKey {
    &upload.key
}
