//! Many tasks at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_key::SnapshotSpec;
use cache_layer::{CacheLayer, Snapshot};

use super::case::{Case, is_in_use, require_hit};
use super::deviation::{Deviation, doing};
use crate::Workshop;

const READERS: usize = 3;
const PUTS: usize = 12;
const TASKS: u64 = 8;
const ROUNDS: usize = 12;

/// While an entry is put and removed, again and again, whoever gets it sees it whole, or not at all.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn a_reader_sees_a_whole_entry_or_none(case: &Case) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    let large = || doing("making a snapshot", case.workshop().large_snapshot(&spec));
    let builds = [large()?, large()?];
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (asker, done) = (Asker::of(case), done.clone());
            let spec = spec.clone();
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    asker.get(&spec).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        })
        .collect();
    let asker = Asker::of(case);
    let mut written = Ok(());
    for round in 0..PUTS {
        written = asker.put(&builds[round % 2]).await;
        if written.is_ok() {
            written = asker.remove(&spec).await;
        }
        if written.is_err() {
            break;
        }
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        doing("reading", reader.await)??;
    }
    written?;
    case.put(&builds[0]).await?;
    case.hit(&spec).await?;
    case.staged_only(&[&builds[0], &builds[1]]).await
}

/// Tasks put, get and remove a few entries, each what it likes. None fails, what is got is whole, and afterwards every
/// entry can be put and got.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn many_tasks_do_each_other_no_harm(case: &Case) -> Result<(), Deviation> {
    let specs = ["a==1", "b==1", "c==1"].map(|requirement| case.spec(requirement));
    let mut snapshots = Vec::new();
    for spec in &specs {
        snapshots.push([case.snapshot(spec)?, case.snapshot(spec)?]);
    }
    let tasks: Vec<_> = (0..TASKS)
        .map(|seed| {
            let (asker, specs, snapshots) = (Asker::of(case), specs.clone(), snapshots.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..ROUNDS {
                    let which = random.usize(..specs.len());
                    match random.u8(..6) {
                        0 => asker.remove(&specs[which]).await?,
                        1 | 2 => asker.put(&snapshots[which][random.usize(..2)]).await?,
                        _ => asker.get(&specs[which]).await?,
                    }
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        doing("one of many tasks", task.await)??;
    }
    for (spec, [one, _]) in specs.iter().zip(&snapshots) {
        case.put(one).await?;
        case.hit(spec).await?;
    }
    let kept: Vec<_> = snapshots.iter().flatten().collect();
    case.staged_only(&kept).await
}

/// One of many who use the layer. An entry that somebody else uses is not removed, and that is no fault.
struct Asker {
    layer: Arc<dyn CacheLayer>,
    staging: cache_layer::Staging,
}

impl Asker {
    fn of(case: &Case) -> Self {
        Self {
            layer: case.layer().clone(),
            staging: Workshop::staging(case.workshop()).clone(),
        }
    }

    async fn get(&self, spec: &SnapshotSpec) -> Result<(), Deviation> {
        let got = doing("get", self.layer.get(spec, &self.staging).await)?;
        got.hit().map_or(Ok(()), |hit| require_hit(&hit, spec))
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<(), Deviation> {
        doing("put", self.layer.put(snapshot).await).map(drop)
    }

    async fn remove(&self, spec: &SnapshotSpec) -> Result<(), Deviation> {
        match self.layer.remove(&spec.key()).await {
            Err(error) if is_in_use(&error) => Ok(()),
            removed => doing("remove", removed),
        }
    }
}
