//! Notes that are not what was written.

use std::fs;

use crate::retries::leave_three;
use crate::scene::{Failing, LONG, paused, root};

pub(crate) fn set_aside() {
    for torn in [
        &b""[..],
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{\"format_version\": 1}",
    ] {
        paused(async {
            let (scene, outbox) = leave_three().await;
            let damaged = scene.notes()[1].clone();
            fs::write(root(scene.path()).join(".outbox").join(&damaged), torn).unwrap();
            let remote = Failing::with([]);
            let cache = scene.cache(remote.clone(), &outbox);
            cache.resume();
            assert_eq!(cache.shutdown(LONG).await, []);
            assert_eq!(remote.keys().len(), 2);
            assert_eq!(scene.notes(), [format!("{damaged}.damaged")]);
            assert_eq!(outbox.stats().set_aside, 1);
        });
    }
}

pub(crate) fn newer() {
    paused(async {
        let (scene, outbox) = leave_three().await;
        let newer = scene.notes()[1].clone();
        let path = root(scene.path()).join(".outbox").join(&newer);
        fs::write(path, "{\"format_version\": 2, \"what\": []}").unwrap();
        let remote = Failing::with([]);
        let cache = scene.cache(remote.clone(), &outbox);
        cache.resume();
        assert_eq!(cache.shutdown(LONG).await, []);
        assert_eq!(remote.keys().len(), 2);
        assert_eq!(scene.notes(), [newer]);
    });
}
