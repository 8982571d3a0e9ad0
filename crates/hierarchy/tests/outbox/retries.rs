//! When what failed is tried again.

use std::iter::repeat_n;
use std::num::NonZero;
use std::time::Duration;

use cache_layer::LayerErrorKind;
use hierarchy::{Outbox, OutboxLimits};

use crate::scene::{Failing, LONG, Scene, paused, start};

pub(crate) const DOWN: LayerErrorKind = LayerErrorKind::Unavailable { temporary: true };

pub(crate) fn doubling() {
    paused(async {
        let (scene, remote) = (Scene::new(), Failing::with(repeat_n(DOWN, 5)));
        let outbox = scene.outbox();
        let cache = scene.cache(remote.clone(), &outbox);
        cache.resume();
        cache.get(&scene.spec("a==1")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(400)).await;

        let times = remote.times();
        assert_eq!(times.len(), 6, "five that failed, and one that did not");
        for (pair, full) in times.windows(2).zip([5.0, 10.0, 20.0, 40.0, 80.0]) {
            let wait = pair[1] - pair[0];
            assert!((full / 2.0..full + 0.1).contains(&wait), "{times:?}");
        }
        assert_eq!(cache.shutdown(LONG).await, []);
        assert_eq!(scene.notes(), [] as [&str; 0]);
        let stats = outbox.stats();
        assert_eq!((stats.added, stats.resumed, stats.delivered), (1, 5, 1));
        let layer = &cache.stats().layers[1];
        assert_eq!((layer.puts, layer.put_errors.total()), (1, 5));
    });
}

pub(crate) fn denied() {
    paused(async {
        let (scene, remote) = (Scene::new(), Failing::with([LayerErrorKind::Denied]));
        let outbox = scene.outbox();
        let cache = scene.cache(remote.clone(), &outbox);
        cache.resume();
        cache.get(&scene.spec("a==1")).await.unwrap();
        tokio::time::sleep(Duration::from_mins(7)).await;
        assert_eq!(remote.times().len(), 1);
        let pending = outbox.pending().await.unwrap();
        let error = pending[0].last_error.as_ref().unwrap();
        assert_eq!(
            (error.kind.as_str(), error.message.as_str()),
            ("denied", "reach the store")
        );
        tokio::time::sleep(Duration::from_mins(9)).await;
        assert_eq!(remote.times().len(), 2);
        assert_eq!(outbox.pending().await.unwrap(), []);
    });
}

pub(crate) fn invalid() {
    paused(async {
        let (scene, remote) = (Scene::new(), Failing::with([LayerErrorKind::Invalid]));
        let outbox = scene.outbox();
        let cache = scene.cache(remote.clone(), &outbox);
        cache.resume();
        cache.get(&scene.spec("a==1")).await.unwrap();
        assert_eq!(cache.shutdown(LONG).await, []);
        assert_eq!(scene.notes(), [] as [&str; 0]);
        assert_eq!(outbox.stats().dropped_failed, 1);
    });
}

pub(crate) fn too_often() {
    paused(async {
        let (scene, remote) = (Scene::new(), Failing::with(repeat_n(DOWN, 9)));
        let mut limits = OutboxLimits::default();
        limits.max_attempts = NonZero::new(3).unwrap();
        let outbox = scene.outbox().with_limits(limits);
        let cache = scene.cache(remote.clone(), &outbox);
        cache.resume();
        cache.get(&scene.spec("a==1")).await.unwrap();
        tokio::time::sleep(Duration::from_mins(30)).await;
        assert_eq!(remote.times().len(), 3);
        assert_eq!(outbox.stats().dropped_failed, 1);
        assert_eq!(scene.notes(), [] as [&str; 0]);
        assert_eq!(
            cache.shutdown(LONG).await,
            [],
            "it is not waited for any more"
        );
    });
}

pub(crate) fn one_try() {
    paused(async {
        let (scene, outbox) = leave_three().await;
        let remote = Failing::with([DOWN]);
        let cache = scene.cache(remote.clone(), &outbox);
        cache.resume();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(remote.keys(), [scene.spec("a==1").key()], "the oldest");
        assert_eq!(outbox.pending().await.unwrap().len(), 3);
        tokio::time::sleep(LONG).await;
        assert_eq!(outbox.pending().await.unwrap(), []);
        assert_eq!(remote.keys().len(), 4);
        assert_eq!(cache.shutdown(LONG).await, []);
    });
}

pub(crate) fn not_due() {
    paused(async {
        let (scene, remote) = (Scene::new(), Failing::with(repeat_n(DOWN, 9)));
        let outbox = scene.outbox();
        let cache = scene.cache(remote.clone(), &outbox);
        cache.get(&scene.spec("a==1")).await.unwrap();
        let left = cache.shutdown(LONG).await;
        assert_eq!(left.len(), 1);
        assert!(left[0].resumes);
        let next = scene.cache(remote.clone(), &outbox);
        next.resume();
        assert_eq!(
            next.shutdown(LONG).await,
            [],
            "nothing is tried, and nothing waited for"
        );
        assert_eq!(remote.times().len(), 1);
        let pending = outbox.pending().await.unwrap();
        assert_eq!(pending[0].attempts, 1);
        assert!(pending[0].next_try > start());
    });
}

pub(crate) fn dropped() {
    paused(async {
        let (scene, remote) = (Scene::new(), Failing::with(repeat_n(DOWN, 9)));
        let cache = scene.cache(remote.clone(), &scene.outbox());
        cache.resume();
        cache.get(&scene.spec("a==1")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(cache);
        tokio::time::sleep(LONG).await;
        assert_eq!(remote.times().len(), 1);
        assert_eq!(remote.clones(), 1, "the task that tries again is over");
    });
}

pub(crate) fn at_once() {
    paused(async {
        let (scene, outbox) = leave_three().await;
        let remote = Failing::with(repeat_n(DOWN, 9)).taking(Duration::from_secs(1));
        // As processes that start at the same time, while the remote layer is down.
        let caches: Vec<_> = (0..4)
            .map(|_| scene.cache(remote.clone(), &outbox))
            .collect();
        for cache in &caches {
            cache.resume();
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let mut keys = remote.keys();
        let tries = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), tries, "each upload is tried by one");
    });
}

/// Three uploads that a process left before it came to the end of one.
pub(crate) async fn leave_three() -> (Scene, Outbox) {
    let scene = Scene::new();
    let outbox = scene.outbox();
    leave_to(&scene, &outbox, Failing::with([])).await;
    (scene, outbox)
}

/// The same to the layer that `remote` passes for.
pub(crate) async fn leave_to(scene: &Scene, outbox: &Outbox, remote: Failing) {
    let cache = scene.cache(remote.taking(LONG), outbox);
    for package in ["a==1", "b==1", "c==1"] {
        cache.get(&scene.spec(package)).await.unwrap();
        // Their order is that of the time at which they were written down.
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(cache.shutdown(Duration::ZERO).await.len(), 3);
}
