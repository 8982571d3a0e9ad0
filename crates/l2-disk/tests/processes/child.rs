//! What the process under test does: one action on the layer of a host, then it ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use cache_layer::{CacheLayer, ContentDigest, LayerErrorKind, Lookup, Snapshot};
use l2_disk::{Budget, DiskLayer};
use tokio::runtime::Runtime;

use crate::contention;
use crate::full_disk;
use crate::host::Disks;

/// One that did its work, one that was refused it by the layer, which is printed.
pub(crate) const DONE: i32 = 0;
pub(crate) const REFUSED: i32 = 3;

/// The layer in `root`, over the disks in `dir`.
pub(crate) struct Child {
    pub(crate) root: PathBuf,
    pub(crate) disks: Disks,
    pub(crate) runtime: Runtime,
}

/// A command that runs this program as a child.
pub(crate) fn command(action: &str, root: &Path, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments(action, root, dir));
    command
}

/// The arguments that make this program a child.
pub(crate) fn arguments(action: &str, root: &Path, dir: &Path) -> [PathBuf; 4] {
    ["child".into(), action.into(), root.into(), dir.into()]
}

pub(crate) fn run(args: &[String]) {
    let [action, root, dir, more @ ..] = args else {
        panic!("{args:?} says too little");
    };
    let child = Child {
        root: root.into(),
        disks: Disks::of(dir.as_ref()),
        // One thread that waits for the disk: its system calls come in an order.
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap(),
    };
    let done = match action.as_str() {
        "put" => child.put("a==1").map(drop),
        "put-elsewhere" => child.put_elsewhere("a==1").map(drop),
        "get" => child.get("a==1").map(drop),
        "evict" => child.evict(),
        "remove" => child.remove("a==1"),
        "open" => drop_of(DiskLayer::open(&child.root)),
        "churn" => return contention::churn(&child, more),
        "fill" => return full_disk::fill(&child),
        "fill-in-use" => return full_disk::fill_in_use(&child),
        other => panic!("{other} is no action"),
    };
    if let Err(error) = done {
        println!("{error:?}");
        std::process::exit(REFUSED);
    }
}

fn drop_of<T>(opened: std::io::Result<T>) -> Result<(), String> {
    opened.map(drop).map_err(|error| error.to_string())
}

impl Child {
    pub(crate) fn layer(&self) -> DiskLayer {
        DiskLayer::open(&self.root).unwrap()
    }

    /// Stores a snapshot that was made in staging.
    fn put(&self, package: &str) -> Result<Snapshot, String> {
        let layer = self.layer();
        let staged = match layer.staging() {
            Some(_) => self.disks.staged(&layer, package),
            None => self.disks.elsewhere(package),
        };
        told(self.runtime.block_on(layer.put(&staged)))
    }

    /// Stores a snapshot from another directory.
    pub(crate) fn put_elsewhere(&self, package: &str) -> Result<Snapshot, String> {
        let made = self.disks.elsewhere(package);
        told(self.runtime.block_on(self.layer().put(&made)))
    }

    /// Prints `hit` or `miss`.
    fn get(&self, package: &str) -> Result<Lookup, String> {
        let looked = self.runtime.block_on(self.look(&self.layer(), package));
        if let Ok(lookup) = &looked {
            println!("{}", if lookup.is_hit() { "hit" } else { "miss" });
        }
        looked
    }

    pub(crate) async fn look(&self, layer: &DiskLayer, package: &str) -> Result<Lookup, String> {
        let scratch = tempfile::tempdir().unwrap();
        let staging = cache_layer::Staging::open(scratch.path()).unwrap();
        told(layer.get(&self.disks.spec(package), &staging).await)
    }

    fn evict(&self) -> Result<(), String> {
        let budget = Budget {
            max_bytes: Some(0),
            min_free_bytes: 0,
        };
        told(self.runtime.block_on(self.layer().collect(budget))).map(drop)
    }

    fn remove(&self, package: &str) -> Result<(), String> {
        let key = self.disks.spec(package).key();
        told(self.runtime.block_on(self.layer().remove(&key)))
    }
}

/// What a layer answered, its error as its kind and its words.
fn told<T>(answer: Result<T, cache_layer::LayerError>) -> Result<T, String> {
    answer.map_err(|error| {
        let kind: LayerErrorKind = error.kind();
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            words = format!("{words}: {error}");
            cause = error.source();
        }
        format!("{}: {words}", kind.as_str())
    })
}

/// Whether the file of `snapshot` has the bytes that its manifest says.
pub(crate) fn is_whole(snapshot: &Snapshot) -> bool {
    let found = ContentDigest::of_file(snapshot.path()).unwrap();
    found == snapshot.manifest().disk().blake3
}
