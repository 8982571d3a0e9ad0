//! A caller may go away at every point at which a layer waits.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use super::case::Case;
use super::deviation::Deviation;

/// No call waits more often than this, or trying would not come to its end.
const MOST_POLLS: usize = 1 << 20;
/// Every point among the first is tried; after them, ever fewer.
const FIRST: usize = 64;

/// A put that was dropped leaves the whole entry or none, nothing in staging, and the way free for the next.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn a_put_that_is_cancelled_leaves_the_whole_entry_or_none(
    case: &Case,
) -> Result<(), Deviation> {
    for polls in points() {
        // A name of its own: what goes on behind the scenes of the last one is in nobody's way.
        let spec = case.spec(&format!("a=={}", polls + 1));
        let made = case.snapshot(&spec)?;
        let ended = poll_at_most(polls, case.layer().put(&made)).await;
        case.hit_or_miss(&spec).await?;
        case.put(&made).await?;
        case.hit(&spec).await?;
        case.staged_only(&[&made]).await?;
        if ended.is_some() {
            return Ok(());
        }
    }
    Err(Deviation::new("a put does not come to its end"))
}

/// A get that was dropped leaves nothing in staging, and the next is a hit.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn a_get_that_is_cancelled_leaves_nothing(case: &Case) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    case.put_new(&spec).await?;
    for polls in points() {
        let get = case.layer().get(&spec, case.workshop().staging());
        let ended = poll_at_most(polls, get).await.is_some();
        case.staged_only(&[]).await?;
        case.hit(&spec).await?;
        if ended {
            return Ok(());
        }
    }
    Err(Deviation::new("a get does not come to its end"))
}

/// A remove that was dropped leaves the whole entry or none, and the way free for the next.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn a_remove_that_is_cancelled_leaves_the_whole_entry_or_none(
    case: &Case,
) -> Result<(), Deviation> {
    for polls in points() {
        let spec = case.spec(&format!("a=={}", polls + 1));
        case.put_new(&spec).await?;
        let key = spec.key();
        let ended = poll_at_most(polls, case.layer().remove(&key)).await;
        case.hit_or_miss(&spec).await?;
        case.remove(&key).await?;
        case.miss(&spec).await?;
        case.staged_only(&[]).await?;
        if ended.is_some() {
            return Ok(());
        }
    }
    Err(Deviation::new("a remove does not come to its end"))
}

/// How often a call is polled before it is dropped: 0 times, once, twice …
fn points() -> impl Iterator<Item = usize> {
    let sparse = std::iter::successors(Some(FIRST), |polls| Some(polls + polls / 4));
    (0..FIRST).chain(sparse.take_while(|polls| *polls < MOST_POLLS))
}

/// Polls `call` this often at most, each time it says that there is something to do, and drops it. Gives what it
/// answered, if it came to that.
async fn poll_at_most<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let mut polled = 0;
    poll_fn(|context| {
        if polled < polls {
            polled += 1;
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
        }
        match polled < polls {
            true => Poll::Pending,
            false => Poll::Ready(None),
        }
    })
    .await
}
