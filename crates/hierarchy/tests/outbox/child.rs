//! What the process under test does: it uses the cache of a scene, then it ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use hierarchy::{Hierarchy, Outbox, Tier};
use tokio::runtime::{Builder, Runtime};

use crate::files;
use crate::scene::{LONG, base, local, remote, root};

/// The package that is asked for.
pub(crate) const PACKAGE: &str = "a==1";

/// A command that runs this program as a child.
pub(crate) fn command(action: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments(action, dir));
    command
}

/// The arguments that make this program a child.
pub(crate) fn arguments(action: &str, dir: &Path) -> [PathBuf; 3] {
    ["child".into(), action.into(), dir.into()]
}

/// The pipe that `get-gated` waits for before it uploads.
pub(crate) fn gate(dir: &Path) -> PathBuf {
    dir.join("gate")
}

pub(crate) fn run(args: &[String]) {
    let [action, dir] = args else {
        panic!("{args:?} is no action in a directory");
    };
    let dir = Path::new(dir);
    match action.as_str() {
        // One thread that waits for the disk: its system calls come in an order.
        "get" => calm().block_on(get(dir, PACKAGE)),
        "resume" => calm().block_on(resume(dir)),
        "get-gated" => Runtime::new().unwrap().block_on(get_gated(dir)),
        other => panic!("{other} is no action"),
    }
}

fn calm() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .unwrap()
}

async fn get(dir: &Path, package: &str) {
    let cache = cache(dir, Tier::remote(Arc::new(remote(dir))));
    let answer = cache.get(&files::spec(&base(dir), package)).await.unwrap();
    println!("{}", answer.source);
    assert_eq!(cache.shutdown(LONG).await, []);
}

async fn resume(dir: &Path) {
    let cache = cache(dir, Tier::remote(Arc::new(remote(dir))));
    cache.resume();
    assert_eq!(cache.shutdown(LONG).await, []);
}

async fn get_gated(dir: &Path) {
    let remote = remote(dir).with_gate(&gate(dir));
    let cache = cache(dir, Tier::remote(Arc::new(remote)));
    let answer = cache.get(&files::spec(&base(dir), PACKAGE)).await.unwrap();
    println!("{}", answer.source);
    cache.shutdown(LONG).await;
}

fn cache(dir: &Path, remote: Tier) -> Hierarchy {
    let staging = cache_layer::Staging::open(&root(dir)).unwrap();
    let outbox = Outbox::open(&staging).unwrap();
    let tiers = [Tier::local(Arc::new(local(dir))), remote];
    Hierarchy::new(tiers, Arc::new(files::Instant), staging).with_outbox(outbox)
}
