//! A process is killed at every step; the next one makes the upload that it left, once.

use std::path::Path;

use crate::child::{self, PACKAGE};
use crate::is_long;
use crate::scene::Scene;
use crate::traced::{STEPS, kill};

pub(crate) fn get() {
    at_every_step("get", |_| {});
}

pub(crate) fn resume() {
    at_every_step("resume", |dir| {
        // One that the process before was killed in the midst of: it is built, and written down.
        assert!((1..).any(|nth| ends_between(dir, nth)));
    });
}

/// Kills a get at its `nth` rename. Says whether that was between the build and the upload.
fn ends_between(dir: &Path, nth: usize) -> bool {
    let at = At(dir);
    at.clear();
    assert!(kill("get", dir, STEPS[0], nth), "it got through");
    at.is_local() && !at.is_remote()
}

/// Kills a child before its first call of each kind, then before its second, until it gets through.
fn at_every_step(action: &str, prepare: fn(&Path)) {
    let scene = Scene::new();
    let at = At(scene.path());
    let (mut kills, mut healed) = (0, 0);
    for step in STEPS {
        // Most files are opened before anything is done, by the loader.
        let stride = if step.contains("open") && !is_long() {
            5
        } else {
            1
        };
        for nth in (1..).step_by(stride) {
            at.clear();
            prepare(scene.path());
            let when = format!("{action} killed at {step} number {nth}");
            if !kill(action, scene.path(), step, nth) {
                break;
            }
            kills += 1;
            let (was_local, was_remote) = (at.is_local(), at.is_remote());
            let next = child::command("resume", scene.path()).output().unwrap();
            assert!(next.status.success(), "{when}: {next:?}");
            assert_eq!(scene.notes(), [] as [&str; 0], "{when}");
            assert_eq!(at.is_local(), was_local, "{when}");
            // Whatever the killed one kept is uploaded by now, and what it had uploaded is not uploaded again.
            assert_eq!(at.is_remote(), was_local, "{when}: kept, and not uploaded");
            let key = scene.spec(PACKAGE).key();
            let logged = scene.remote().stored(&key);
            let most = usize::from(was_local);
            assert!(
                logged <= most && (was_remote || logged == most),
                "{when}: {logged}"
            );
            healed += usize::from(was_local && !was_remote);
        }
    }
    assert!(kills >= 10, "only {kills} kills of {action}");
    assert!(healed > 0, "no kill was between the build and the upload");
    println!("{action}: {kills} kills, {healed} between the build and the upload");
}

/// The files of a scene.
struct At<'a>(&'a Path);

impl At<'_> {
    /// Makes it as if nothing had happened.
    fn clear(&self) {
        for dir in ["local", "remote"] {
            let dir = self.0.join(dir);
            if dir.exists() {
                std::fs::remove_dir_all(dir).unwrap();
            }
        }
    }

    fn is_local(&self) -> bool {
        self.has("local")
    }

    fn is_remote(&self) -> bool {
        self.has("remote")
    }

    fn has(&self, dir: &str) -> bool {
        let spec = crate::files::spec(&crate::scene::base(self.0), PACKAGE);
        self.0
            .join(dir)
            .join(format!("{}.qcow2", spec.key()))
            .exists()
    }
}
