//! A process is killed at every step; the next one finds the whole entry, or none, and no garbage.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cache_layer::CacheLayer;
use l2_disk::DiskLayer;
use tokio::runtime::Runtime;

use crate::child::{self, is_whole};
use crate::host::{Host, names};
use crate::is_long;
use crate::traced::{self, End, Fate, STEPS};

const PACKAGE: &str = "a==1";

/// A directory that children work in, one after another.
pub(crate) struct Scene {
    host: Host,
    runtime: Runtime,
}

/// What a scene is like before a child is let loose.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before {
    Empty,
    Entry,
    /// A disk that somebody put there by hand.
    BareDisk,
    /// What a process that died in the midst of a put left.
    HalfAPut,
}

/// What may be there afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    WholeOrNone,
    Whole,
    None,
}

pub(crate) fn put() {
    at_every_step("put", Before::Empty, After::WholeOrNone);
    at_every_step("put-elsewhere", Before::Empty, After::WholeOrNone);
}

pub(crate) fn get() {
    at_every_step("get", Before::Entry, After::Whole);
}

pub(crate) fn adopt() {
    at_every_step("get", Before::BareDisk, After::Whole);
}

pub(crate) fn evict() {
    at_every_step("evict", Before::Entry, After::WholeOrNone);
    at_every_step("remove", Before::Entry, After::WholeOrNone);
}

pub(crate) fn recover() {
    at_every_step("open", Before::HalfAPut, After::None);
}

/// The same with the moment left to chance.
pub(crate) fn put_at_random() {
    let scene = Scene::new();
    let mut whole = 0;
    let kills = if is_long() { 250 } else { 25 };
    let took = scene.time_of_a_put();
    // A fixed sequence that looks like chance, over somewhat more than the time that a put takes.
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..kills {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        scene.set(Before::Empty);
        let (root, dir) = (scene.root(), scene.host.dir.path().to_owned());
        let mut child = child::command("put", &root, &dir).spawn().unwrap();
        sleep(took.mul_f64(1.5 * (chance >> 32) as f64 / f64::from(u32::MAX)));
        child.kill().unwrap();
        child.wait().unwrap();
        whole += usize::from(scene.look("a random moment", After::WholeOrNone));
    }
    println!("{kills} kills at random, {whole} after the entry was whole");
}

/// Kills a child before its first call of each kind, then before its second, until it gets through.
fn at_every_step(action: &str, before: Before, after: After) {
    let scene = Scene::new();
    let (mut kills, mut whole) = (0, 0);
    for step in STEPS {
        // Most files are opened before anything is done, by the loader.
        let stride = if step.contains("open") && !is_long() {
            7
        } else {
            1
        };
        for nth in (1..).step_by(stride) {
            scene.set(before);
            let (root, dir) = (scene.root(), scene.host.dir.path().to_owned());
            let end = traced::run(action, &root, &dir, step, nth, Fate::Kill);
            let when = format!("{action} killed at {step} number {nth}");
            let is_whole = scene.look(&when, after);
            match end {
                End::Exited(child::DONE) => break,
                // `qemu-img`, which it started, was killed.
                End::Exited(_) => {}
                End::Killed => {
                    kills += 1;
                    whole += usize::from(is_whole);
                }
            }
        }
    }
    assert!(kills >= 10, "only {kills} kills of {action}");
    println!("{action}: {kills} kills, {whole} after the entry was whole");
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            host: Host::new(),
            runtime: Runtime::new().unwrap(),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.host.layer.root().with_file_name("scene")
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.host.dir.path().to_owned()
    }

    /// Makes it what it is to be, whatever it was.
    pub(crate) fn set(&self, before: Before) {
        let root = self.root();
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        fs::create_dir(&root).unwrap();
        let key = self.host.disks.spec(PACKAGE).key();
        let disk = root.join(format!("{key}.qcow2"));
        match before {
            Before::Empty => {}
            Before::BareDisk => drop(fs::copy(&self.host.disks.overlay, disk).unwrap()),
            Before::Entry | Before::HalfAPut => {
                let layer = DiskLayer::open(&root).unwrap();
                let staged = self.host.disks.staged(&layer, PACKAGE);
                drop(self.runtime.block_on(layer.put(&staged)).unwrap());
            }
        }
        if let Before::HalfAPut = before {
            fs::remove_file(disk_of(&root, &key.to_string())).unwrap();
            fs::write(root.join(".changing").join(key.to_string()), "").unwrap();
            fs::write(root.join(".locks").join(key.to_string()), "").unwrap();
            let dead = root.join(".staging/4000000-0");
            fs::create_dir(&dead).unwrap();
            fs::write(dead.join("owner"), "").unwrap();
            fs::write(dead.join(format!("0-{key}.qcow2")), "half").unwrap();
        }
    }

    /// How long a put takes here that nobody kills.
    fn time_of_a_put(&self) -> Duration {
        self.set(Before::Empty);
        let mut put = child::command("put", &self.root(), &self.dir());
        let began = Instant::now();
        assert!(put.status().unwrap().success());
        began.elapsed()
    }

    /// Opens the directory, which leaves no garbage of dead processes.
    fn open_swept(&self, when: &str) -> DiskLayer {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let layer = DiskLayer::open(&self.root()).unwrap();
            let of = |dir: &str| names(&self.root().join(dir));
            let garbage = [of(".changing"), of(".locks")].concat();
            if garbage.is_empty() && of(".staging").len() == 1 {
                return layer;
            }
            // A program that the dead process was starting holds all that it held, until it has begun.
            assert!(
                Instant::now() < until,
                "{when}: {garbage:?} {:?}",
                of(".staging")
            );
            sleep(Duration::from_millis(5));
        }
    }

    /// Opens the directory as the next process does, and says whether the entry is there, whole.
    pub(crate) fn look(&self, when: &str, after: After) -> bool {
        let root = self.root();
        let layer = self.open_swept(when);
        // Before anything is asked of it, there is an entry or nothing at all.
        let left: Vec<_> = names(&root)
            .into_iter()
            .filter(|name| !name.starts_with('.'))
            .collect();
        assert!(
            left.len() != 1 || left[0].ends_with(".qcow2"),
            "{when}: {left:?}"
        );
        let spec = self.host.disks.spec(PACKAGE);
        let looked = layer.get(&spec, layer.staging().unwrap());
        let found = self.runtime.block_on(looked).unwrap().hit();
        assert!(found.as_ref().is_none_or(is_whole), "{when}: half an entry");
        match after {
            After::WholeOrNone => {}
            After::Whole => assert!(found.is_some(), "{when}: the entry is lost"),
            After::None => assert!(found.is_none(), "{when}"),
        }
        if found.is_none() {
            assert_eq!(left, [] as [&str; 0], "{when}: garbage");
        }
        found.is_some()
    }
}

fn disk_of(root: &std::path::Path, key: &str) -> PathBuf {
    root.join(format!("{key}.qcow2"))
}
