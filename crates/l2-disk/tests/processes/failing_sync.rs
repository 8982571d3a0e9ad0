//! The disk fails to write to the end what it was given.

use crate::child;
use crate::killed::{After, Before, Scene};
use crate::traced::{self, End, Fate};

pub(crate) fn put() {
    let scene = Scene::new();
    let mut failures = 0;
    for action in ["put", "put-elsewhere"] {
        for nth in 1.. {
            scene.set(Before::Empty);
            let end = traced::run(
                action,
                &scene.root(),
                &scene.dir(),
                "fsync",
                nth,
                Fate::Fail,
            );
            let when = format!("{action} with its fsync number {nth} failing");
            if end == End::Exited(child::DONE) {
                assert!(scene.look(&when, After::Whole));
                break;
            }
            assert_eq!(end, End::Exited(child::REFUSED), "{when}");
            failures += 1;
            // The last one is that of the directory, when the entry is there already: it is whole.
            scene.look(&when, After::WholeOrNone);
        }
    }
    assert!(failures >= 6, "only {failures} calls failed");
}
