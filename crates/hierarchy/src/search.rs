//! Who has it: the layers in order, and the builder when none has, or beside one that is slow.

use std::pin::pin;
use std::sync::Arc;

use cache_key::SnapshotSpec;
use cache_layer::{BuildError, Snapshot, Staging};
use futures::future::{Either, select};
use tokio::sync::Notify;

use crate::builds::Builds;
use crate::level::Level;

/// A snapshot, still where it was found or made.
#[derive(Debug)]
pub(crate) enum Found {
    /// By the level of this number.
    At(usize, Snapshot),
    Built(Snapshot),
}

/// Asks `levels`, the first ones, in order.
pub(crate) async fn search(
    levels: &[Arc<Level>],
    spec: &SnapshotSpec,
    staging: &Staging,
    overdue: &Notify,
) -> Option<(usize, Snapshot)> {
    for (index, level) in levels.iter().enumerate() {
        if let Some(snapshot) = level.look(spec, staging, overdue).await {
            return Some((index, snapshot));
        }
    }
    None
}

/// Asks `levels` in order and has it built when none has it; or, when one is slower than its hedge, has it built beside
/// the search that goes on. The slower of the two is dropped before this returns.
pub(crate) async fn search_or_build(
    levels: &[Arc<Level>],
    builds: &Builds,
    spec: &SnapshotSpec,
    staging: &Staging,
) -> Result<Found, BuildError> {
    let overdue = Notify::new();
    let search = pin!(search(levels, spec, staging, &overdue));
    let at = |(index, snapshot)| Found::At(index, snapshot);

    let search = match select(search, pin!(overdue.notified())).await {
        Either::Left((Some(found), _)) => return Ok(at(found)),
        Either::Left((None, _)) => return builds.build(spec, staging).await.map(Found::Built),
        Either::Right(((), search)) => search,
    };
    tracing::debug!("a layer is slow: building beside it");
    builds.counters.hedged.add(1);
    match select(search, pin!(builds.build(spec, staging))).await {
        Either::Left((Some(found), _)) => Ok(at(found)),
        Either::Left((None, build)) => build.await.map(Found::Built),
        Either::Right((Ok(built), _)) => Ok(Found::Built(built)),
        Either::Right((Err(error), search)) => search.await.map(at).ok_or(error),
    }
}
