//! What is found is what was asked for.

use std::fs;

use cache_layer::{Disk, Snapshot};

use super::case::Case;
use super::deviation::{Deviation, doing, require};
use crate::Workshop;

/// Two packages whose sets have the same CRC-64, and so the same key: CRCs are linear, and 22 letters with three free
/// bits in each are more than 64 equations can hold.
pub const COLLIDING: [&str; 2] = ["hhhhhhhhhhhhhhhhhhhhhh==1", "ljjinmmmnmmnkhlhhmmkoh==1"];

/// What is there under the key of what is asked for, crafted to be so, is a miss. Either may be put over the other, and
/// neither is ever taken for the other.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn another_request_under_the_same_key_is_a_miss(case: &Case) -> Result<(), Deviation> {
    let [good, crafted] = COLLIDING.map(|requirement| case.spec(requirement));
    case.put_new(&crafted).await?;
    case.miss(&good).await?;
    // Whichever stays, `get` has looked at whose it is.
    case.put_new(&good).await?;
    case.hit_or_miss(&good).await?;
    case.hit_or_miss(&crafted).await?;
    case.staged_only(&[]).await
}

/// Two hosts have the same base image at different paths. What one has put is for the other a miss, or a disk over its
/// own base image.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn a_hit_stands_on_the_base_image_of_who_asks(case: &Case) -> Result<(), Deviation> {
    let elsewhere = doing("making another host", Workshop::new())?;
    let (here, there) = (case.spec("a==1"), elsewhere.spec("a==1"));
    case.put_new(&here).await?;
    // A hit has been held against the base image of its spec.
    case.hit_or_miss(&there).await?;
    let theirs = doing("making a snapshot", elsewhere.snapshot(&there))?;
    case.put(&theirs).await?;
    case.hit_or_miss(&there).await?;
    case.hit_or_miss(&here).await
}

/// A snapshot whose bytes are not those of its manifest is refused when it is put, or found out when it is got; it is
/// never a hit, and a good one can be put in its place.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn bytes_that_are_not_those_of_their_manifest_are_no_hit(
    case: &Case,
) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    let (good, other) = (case.snapshot(&spec)?, case.snapshot(&spec)?);
    let same_length = *good.manifest().disk();
    let longer = Disk {
        file_bytes: same_length.file_bytes + 1,
        ..*other.manifest().disk()
    };
    for disk in [same_length, longer] {
        let lying = Snapshot::new(other.path(), other.manifest().with_disk(disk));
        let refused = case.layer().put(&lying).await.is_err();
        let got = case.layer().get(&spec, case.workshop().staging()).await;
        require(!got.is_ok_and(|got| got.is_hit()), || {
            "bytes that are not those of their manifest were put, and get answers with a hit"
                .to_owned()
        })?;
        case.put(&good).await?;
        let hit = case.get(&spec).await?.is_hit();
        require(hit, || {
            let put = if refused { "refused" } else { "taken" };
            format!("a bad snapshot, which was {put}, stands in the way of a good one")
        })?;
        case.remove(&spec.key()).await?;
    }
    case.staged_only(&[&good, &other]).await
}

/// A snapshot whose file is gone cannot be put, and leaves nothing.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn a_snapshot_whose_file_is_gone_is_an_error(case: &Case) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    let gone = case.snapshot(&spec)?;
    doing("removing a snapshot", fs::remove_file(gone.path()))?;
    let put = case.layer().put(&gone).await;
    require(put.is_err(), || {
        "put of a snapshot whose file is gone succeeds".to_owned()
    })?;
    case.miss(&spec).await?;
    case.staged_only(&[]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crafted_packages_have_one_key_and_are_two_requests() {
        let workshop = Workshop::new().unwrap();
        let [one, other] = COLLIDING.map(|requirement| workshop.spec(requirement));
        assert_eq!(one.key(), other.key());
        assert_ne!(one.canonical(), other.canonical());
    }
}
