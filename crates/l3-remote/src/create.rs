//! Writing an object only where there is none: whether the store keeps to that has to be seen, since some
//! say yes and overwrite.

use std::time::{SystemTime, UNIX_EPOCH};

use opendal::{Error, ErrorKind, Operator};

/// Writes a small object twice, the second time only if it is not there, and removes it. Says whether the
/// store refused the second.
pub(crate) async fn honours_if_not_exists(store: &Operator) -> Result<bool, Error> {
    if !store.info().capability().write_with_if_not_exists {
        return Ok(false);
    }
    let path = probe_path();
    store.write(&path, "once").await?;
    let again = store.write_with(&path, "twice").if_not_exists(true).await;
    if let Err(error) = store.delete(&path).await {
        tracing::debug!(path, %error, "cannot remove a probe");
    }
    match again {
        Err(error) if error.kind() == ErrorKind::ConditionNotMatch => Ok(true),
        // It was overwritten, or the store knows nothing of conditions.
        _ => Ok(false),
    }
}

/// A name that is no entry's, and that no other process uses at the same time.
fn probe_path() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos());
    format!("snapshots/.probe-{:x}-{now:x}", std::process::id())
}
