//! One task that puts, gets and removes.

use std::fs;

use super::case::{Case, require_whole};
use super::deviation::{Deviation, doing, require};

/// What was never put is a miss, and no error.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn what_was_never_put_is_a_miss(case: &Case) -> Result<(), Deviation> {
    case.miss(&case.spec("a==1")).await?;
    case.staged_only(&[]).await
}

/// A hit has every byte of what was put, and its manifest.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn what_was_put_is_a_hit_with_its_bytes_and_its_manifest(
    case: &Case,
) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    let made = doing("making a snapshot", case.workshop().large_snapshot(&spec))?;
    case.put(&made).await?;
    let hit = case.hit(&spec).await?;
    let same = hit.manifest() == made.manifest();
    require(same, || {
        let (put, got) = (made.manifest(), hit.manifest());
        format!("this was put:\n{put:?}\nand this is what comes back:\n{got:?}")
    })?;
    // Their digest is that of the manifest, which was just seen to be the same.
    require_whole(&made)
}

/// A snapshot that is not staged may be changed and removed by its owner when `put` has answered; one that is staged
/// goes when its last clone is dropped.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn what_was_put_outlives_its_source(case: &Case) -> Result<(), Deviation> {
    let (staged, foreign) = (case.spec("a==1"), case.spec("b==1"));
    drop(case.put_new(&staged).await?);
    let dir = doing("making a directory", tempfile::tempdir())?;
    let file = dir.path().join("foreign.qcow2");
    let made = doing(
        "making a snapshot",
        case.workshop().snapshot_at(&foreign, &file),
    )?;
    case.put(&made).await?;
    doing("changing the source", fs::write(&file, "nobody's business"))?;
    doing("removing the source", fs::remove_file(&file))?;
    for spec in [staged, foreign] {
        case.hit(&spec).await?;
    }
    Ok(())
}

/// Storing what is there already succeeds, with the same bytes and with those of another build.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn putting_it_again_succeeds(case: &Case) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    let first = case.put_new(&spec).await?;
    case.put(&first).await?;
    case.hit(&spec).await?;
    let second = case.put_new(&spec).await?;
    let hit = case.hit(&spec).await?;
    let digest = hit.manifest().disk().blake3;
    let put = [&first, &second].map(|snapshot| snapshot.manifest().disk().blake3);
    require(put.contains(&digest), || {
        format!("the hit has the digest {digest}, which neither of those has that were put")
    })
}

/// What was removed is a miss at once, and can be put again.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn what_was_removed_is_a_miss_and_can_be_put_again(case: &Case) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    let made = case.put_new(&spec).await?;
    case.remove(&spec.key()).await?;
    case.miss(&spec).await?;
    case.put(&made).await?;
    case.hit(&spec).await.map(drop)
}

/// Removing what is not there succeeds: before it was put, and after it was removed.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn removing_what_is_not_there_succeeds(case: &Case) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    case.remove(&spec.key()).await?;
    case.put_new(&spec).await?;
    case.remove(&spec.key()).await?;
    case.remove(&spec.key()).await
}

/// Putting and removing an entry changes no other one.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn an_entry_is_none_of_the_others_business(case: &Case) -> Result<(), Deviation> {
    let [a, b, c] = ["a==1", "a==2", "b==1"].map(|requirement| case.spec(requirement));
    case.put_new(&a).await?;
    case.miss(&b).await?;
    case.put_new(&b).await?;
    case.remove(&a.key()).await?;
    case.miss(&a).await?;
    case.hit(&b).await?;
    case.miss(&c).await
}

/// A snapshot that was handed out can be read for as long as it is held, whatever becomes of its entry: either the
/// layer refuses to remove it, or its file stays.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn a_snapshot_in_hand_outlives_its_entry(case: &Case) -> Result<(), Deviation> {
    let spec = case.spec("a==1");
    case.put_new(&spec).await?;
    let held = case.hit(&spec).await?;
    let clone = held.clone();
    drop(held);
    let removed = case.layer().remove(&spec.key()).await;
    let refused = removed.as_ref().is_err_and(super::case::is_in_use);
    if !refused {
        doing("remove of what is in use", removed)?;
        case.miss(&spec).await?;
    }
    require_whole(&clone)?;
    drop(clone);
    case.remove(&spec.key()).await?;
    case.miss(&spec).await?;
    case.staged_only(&[]).await
}

/// What was put is there for whoever opens the layer next, and what was removed is not.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn what_was_put_is_there_when_the_layer_is_opened_again(
    case: &Case,
) -> Result<(), Deviation> {
    let (kept, removed) = (case.spec("a==1"), case.spec("b==1"));
    case.put_new(&kept).await?;
    case.put_new(&removed).await?;
    case.remove(&removed.key()).await?;
    let again = case.open_again().await;
    let hit = case.get_from(again.as_ref(), &kept).await?;
    require(hit.is_hit(), || {
        format!(
            "{} was put, and is a miss when the layer is opened again",
            kept.key()
        )
    })?;
    let miss = case.get_from(again.as_ref(), &removed).await?;
    require(!miss.is_hit(), || {
        format!(
            "{} was removed, and is there when the layer is opened again",
            removed.key()
        )
    })
}

/// The name is a label: lower-case letters, digits and hyphens, always the same. It stands in what the layer prints,
/// which is one line.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn it_prints_its_name_and_keeps_it(case: &Case) -> Result<(), Deviation> {
    let (name, again) = (case.layer().name(), case.open_again().await);
    let is_label = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-');
    require(!name.is_empty() && name.chars().all(is_label), || {
        format!("its name, `{name}`, is not made of lower-case letters, digits and hyphens")
    })?;
    require(again.name() == name, || {
        format!("its name is `{name}` and then `{}`", again.name())
    })?;
    let printed = case.layer().to_string();
    require(printed.contains(name) && !printed.contains('\n'), || {
        format!("it prints `{printed}`, which is not one line with its name, `{name}`, in it")
    })
}
