//! Who is asked, in which order, and who holds the snapshot afterwards.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{MockBuilder, MockLayer, layer, moved_to, no_builder, snapshot, spec, staging};
use cache_layer::{BuildError, BuildErrorKind, LayerError, LayerErrorKind, Lookup, Staging};
use hierarchy::{GetError, Hierarchy, Source, Tier, Writes};
use mockall::Sequence;

const LONG: Duration = Duration::from_secs(60);

/// A stack of a local and a remote layer.
fn stack(l2: MockLayer, l3: MockLayer, builder: MockBuilder, staging: Staging) -> Hierarchy {
    let tiers = [Tier::local(Arc::new(l2)), Tier::remote(Arc::new(l3))];
    Hierarchy::new(tiers, Arc::new(builder), staging)
}

fn l2() -> MockLayer {
    layer("l2-disk")
}

fn l3() -> MockLayer {
    layer("l3-remote")
}

/// An `l2-disk` that has nothing and keeps what it is given.
fn empty_l2() -> MockLayer {
    let mut l2 = l2();
    l2.expect_get().returning(|_, _| Ok(Lookup::Miss));
    l2.expect_put()
        .times(1)
        .returning(|snapshot| Ok(moved_to(snapshot, "l2")));
    l2
}

fn empty_l3() -> MockLayer {
    let mut l3 = l3();
    l3.expect_get().returning(|_, _| Ok(Lookup::Miss));
    l3
}

fn one_build() -> MockBuilder {
    let mut builder = MockBuilder::new();
    builder
        .expect_build()
        .times(1)
        .returning(|spec, _| Ok(snapshot(spec, "staging")));
    builder
}

fn down() -> LayerError {
    LayerError::new(
        LayerErrorKind::Unavailable { temporary: true },
        "reach the store",
    )
}

#[tokio::test]
async fn seed_17_an_l2_hit_makes_no_l3_call_and_no_build() {
    let (_root, staging) = staging();
    let (mut l2, mut l3) = (l2(), l3());
    l2.expect_get()
        .times(1)
        .returning(|spec, _| Ok(Lookup::Hit(snapshot(spec, "l2"))));
    l2.expect_put().never();
    l3.expect_get().never();
    l3.expect_put().never();
    let cache = stack(l2, l3, no_builder(), staging);

    let answer = cache.get(&spec(["a==1"])).await.unwrap();

    assert_eq!(answer.source, Source::Layer("l2-disk"));
    assert!(answer.kept);
    assert!(answer.snapshot.path().starts_with("/l2"));
    let stats = cache.stats();
    assert_eq!((stats.layers[0].hits, stats.layers[0].misses), (1, 0));
    assert_eq!((stats.layers[1].hits, stats.layers[1].misses), (0, 0));
}

#[tokio::test]
async fn seed_18_an_l2_miss_and_an_l3_hit_downloads_and_makes_no_build() {
    let (_root, staging) = staging();
    let mut l3 = l3();
    l3.expect_get()
        .times(1)
        .returning(|spec, _| Ok(Lookup::Hit(snapshot(spec, "staging"))));
    l3.expect_put().never();
    let cache = stack(empty_l2(), l3, no_builder(), staging);

    let answer = cache.get(&spec(["a==1"])).await.unwrap();

    assert_eq!(answer.source, Source::Layer("l3-remote"));
    // The manifest goes with the bytes: their length and digest are in it.
    let downloaded = snapshot(&spec(["a==1"]), "staging");
    assert_eq!(answer.snapshot.manifest(), downloaded.manifest());
    assert!(answer.kept && answer.snapshot.path().starts_with("/l2"));
}

#[tokio::test]
async fn seed_19_when_both_miss_it_is_built_once_kept_in_l2_and_soon_uploaded() {
    let (_root, staging) = staging();
    let mut l3 = empty_l3();
    l3.expect_put()
        .times(1)
        // What is uploaded is the copy that L2 keeps, not the staged one.
        .withf(|snapshot| snapshot.path().starts_with("/l2"))
        .returning(|snapshot| Ok(snapshot.clone()));
    let cache = stack(empty_l2(), l3, one_build(), staging);

    let answer = cache.get(&spec(["a==1"])).await.unwrap();

    assert_eq!(answer.source, Source::Built);
    assert!(answer.kept && answer.snapshot.path().starts_with("/l2"));
    assert_eq!(cache.shutdown(LONG).await, []);
    let stats = cache.stats();
    assert_eq!((stats.builder.built, stats.layers[1].puts), (1, 1));
}

#[tokio::test]
async fn seed_20_after_an_l3_hit_l2_holds_it_and_the_next_call_makes_no_l3_call() {
    let (_root, staging) = staging();
    let (mut l2, mut l3) = (l2(), l3());
    let mut order = Sequence::new();
    // By the caller for itself, then by the one that fetches, once it has the lock.
    l2.expect_get()
        .times(2)
        .in_sequence(&mut order)
        .returning(|_, _| Ok(Lookup::Miss));
    l3.expect_get()
        .times(1)
        .in_sequence(&mut order)
        .returning(|spec, _| Ok(Lookup::Hit(snapshot(spec, "staging"))));
    l2.expect_put()
        .times(1)
        .in_sequence(&mut order)
        .returning(|snapshot| Ok(moved_to(snapshot, "l2")));
    l2.expect_get()
        .times(1)
        .in_sequence(&mut order)
        .returning(|spec, _| Ok(Lookup::Hit(snapshot(spec, "l2"))));
    let cache = stack(l2, l3, no_builder(), staging);

    let first = cache.get(&spec(["a==1"])).await.unwrap();
    let second = cache.get(&spec(["a==1"])).await.unwrap();

    assert_eq!(first.source, Source::Layer("l3-remote"));
    assert_eq!(second.source, Source::Layer("l2-disk"));
    assert_eq!(first.snapshot.path(), second.snapshot.path());
}

#[tokio::test]
async fn seed_21_the_same_packages_in_another_order_are_the_same_key_and_path() {
    let (_root, staging) = staging();
    let mut l2 = l2();
    l2.expect_get()
        .times(2)
        .returning(|spec, _| Ok(Lookup::Hit(snapshot(spec, "l2"))));
    let cache = stack(l2, l3(), no_builder(), staging);

    let one = cache.get(&spec(["b==2", "a==1"])).await.unwrap();
    let two = cache.get(&spec(["A==1", "b==2"])).await.unwrap();

    assert_eq!(one.snapshot.key(), two.snapshot.key());
    assert_eq!(one.snapshot.path(), two.snapshot.path());
}

#[tokio::test]
async fn seed_22_with_no_l3_an_l2_miss_is_a_build() {
    let (_root, staging) = staging();
    let tiers = [Tier::local(Arc::new(empty_l2()))];
    let cache = Hierarchy::new(tiers, Arc::new(one_build()), staging);

    let answer = cache.get(&spec(["a==1"])).await.unwrap();

    assert_eq!(answer.source, Source::Built);
    assert!(answer.snapshot.path().starts_with("/l2"));
}

#[tokio::test]
async fn seed_23_the_error_of_a_build_reaches_the_caller_with_its_message() {
    let (_root, staging) = staging();
    let mut l2 = l2();
    l2.expect_get().returning(|_, _| Ok(Lookup::Miss));
    let mut builder = MockBuilder::new();
    builder
        .expect_build()
        .times(1)
        .returning(|_, _| Err(BuildError::new(BuildErrorKind::Temporary, "VM boot failed")));
    let cache = stack(l2, empty_l3(), builder, staging);

    let error = cache.get(&spec(["a==1"])).await.unwrap_err();

    assert_eq!(error.to_string(), "VM boot failed");
    assert!(
        matches!(&error, GetError::Build(error) if error.kind() == BuildErrorKind::Temporary),
        "{error:?}"
    );
    assert_eq!(cache.stats().builder.errors.total(), 1);
}

#[tokio::test]
async fn seed_15_an_upload_that_fails_is_counted_and_no_error_to_the_caller() {
    let (_root, staging) = staging();
    let mut l3 = empty_l3();
    l3.expect_put().times(1).returning(|_| Err(down()));
    let cache = stack(empty_l2(), l3, one_build(), staging);

    let answer = cache.get(&spec(["a==1"])).await.unwrap();

    assert!(answer.snapshot.path().starts_with("/l2"));
    assert_eq!(cache.shutdown(LONG).await, []);
    let remote = &cache.stats().layers[1];
    assert_eq!((remote.puts, remote.put_errors.total()), (0, 1));
}

#[tokio::test]
async fn a_layer_that_errs_is_stepped_over_and_is_no_miss_in_the_statistics() {
    let (_root, staging) = staging();
    let (mut l2, mut l3) = (l2(), l3());
    l2.expect_get().returning(|_, _| Err(down()));
    l2.expect_put().returning(|_| Err(down()));
    l3.expect_get().returning(|_, _| Err(down()));
    l3.expect_put().returning(|snapshot| Ok(snapshot.clone()));
    let cache = stack(l2, l3, one_build(), staging);

    let answer = cache.get(&spec(["a==1"])).await.unwrap();

    assert_eq!(answer.source, Source::Built);
    assert!(!answer.kept, "nobody keeps the staged file");
    assert!(answer.snapshot.path().starts_with("/staging"));
    cache.shutdown(LONG).await;
    let stats = cache.stats();
    assert_eq!(
        stats
            .layers
            .iter()
            .map(|layer| (layer.misses, layer.get_errors.total()))
            .collect::<Vec<_>>(),
        [(0, 2), (0, 1)]
    );
    assert_eq!(
        (stats.layers[0].put_errors.total(), stats.layers[1].puts),
        (1, 1)
    );
}

#[tokio::test]
async fn a_snapshot_without_packages_is_no_business_of_a_remote_layer() {
    let (_root, staging) = staging();
    let mut l3 = l3();
    l3.expect_get().never();
    l3.expect_put().never();
    let cache = stack(empty_l2(), l3, one_build(), staging);

    let answer = cache.get(&spec([])).await.unwrap();

    assert_eq!(answer.source, Source::Built);
    cache.shutdown(LONG).await;
}

#[tokio::test]
async fn a_hit_fills_every_layer_above_from_the_bottom_up() {
    let (_root, staging) = staging();
    let (mut top, mut middle, mut low) = (layer("top"), layer("middle"), layer("low"));
    let mut order = Sequence::new();
    for layer in [&mut top, &mut middle] {
        layer
            .expect_get()
            .times(1)
            .in_sequence(&mut order)
            .returning(|_, _| Ok(Lookup::Miss));
    }
    low.expect_get()
        .times(1)
        .in_sequence(&mut order)
        .returning(|spec, _| Ok(Lookup::Hit(snapshot(spec, "low"))));
    for (layer, from, name) in [
        (&mut middle, "/low", "middle"),
        (&mut top, "/middle", "top"),
    ] {
        layer
            .expect_put()
            .times(1)
            .in_sequence(&mut order)
            .withf(move |snapshot| snapshot.path().starts_with(from))
            .returning(move |snapshot| Ok(moved_to(snapshot, name)));
    }
    let tiers = [top, middle, low].map(|layer| Tier::local(Arc::new(layer)));
    let cache = Hierarchy::new(tiers, Arc::new(no_builder()), staging);

    let answer = cache.get(&spec(["a==1"])).await.unwrap();

    assert_eq!(answer.source, Source::Layer("low"));
    assert!(answer.snapshot.path().starts_with("/top"));
}

#[tokio::test]
async fn a_read_only_layer_is_asked_and_never_written_to_and_disables_no_other() {
    let (_root, staging) = staging();
    let mut shared = empty_l3();
    shared.expect_put().never();
    let mut own = layer("own");
    own.expect_get().returning(|_, _| Ok(Lookup::Miss));
    own.expect_put()
        .times(1)
        .returning(|snapshot| Ok(snapshot.clone()));
    let tiers = [
        Tier::local(Arc::new(empty_l2())),
        Tier::remote(Arc::new(shared)).with_writes(Writes::NONE),
        Tier::remote(Arc::new(own)),
    ];
    let cache = Hierarchy::new(tiers, Arc::new(one_build()), staging);

    let answer = cache.get(&spec(["a==1"])).await.unwrap();

    assert_eq!(answer.source, Source::Built);
    assert_eq!(cache.shutdown(LONG).await, []);
}

#[test]
fn it_prints_its_stack() {
    let (_root, staging) = staging();
    let cache = stack(l2(), l3(), no_builder(), staging);
    assert_eq!(
        cache.to_string(),
        "l2-disk(mock) → l3-remote(mock) → builder(mock)"
    );
}
