use std::collections::BTreeSet;
use std::sync::Arc;

use cache_layer::LayerErrorKind;
use cache_layer_testkit::conformance::{
    self, ALL, Behaviour, Directory,
    a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none,
    a_store_that_cannot_be_used_is_an_error_and_no_miss, check, check_all,
};
use cache_layer_testkit::doubles::{Fault, Faults, Flaky, Memory, Noop};

use crate::careless::{Careless, Flaw};

/// Each behaviour, a layer that is right but for it, and what is told of that: this or that, where it is a race.
const FLAWS: &[(&str, Flaw, &str)] = &[
    (
        "what_was_never_put_is_a_miss",
        Flaw::InventsHits,
        "/nothing` fails",
    ),
    (
        "what_was_put_is_a_hit_with_its_bytes_and_its_manifest",
        Flaw::Forgets,
        "answers with a miss",
    ),
    (
        "what_was_put_is_a_hit_with_its_bytes_and_its_manifest",
        Flaw::ForgetsWhatIsResolved,
        "this is what comes back",
    ),
    (
        "what_was_put_outlives_its_source",
        Flaw::BorrowsTheSource,
        "No such file",
    ),
    (
        "putting_it_again_succeeds",
        Flaw::RefusesASecondPut,
        "put of",
    ),
    (
        "putting_it_again_succeeds",
        Flaw::MixesBuilds,
        "its manifest says",
    ),
    (
        "what_was_removed_is_a_miss_and_can_be_put_again",
        Flaw::ForgetsToRemove,
        "answers with a hit",
    ),
    (
        "what_was_removed_is_a_miss_and_can_be_put_again",
        Flaw::NeverTakesBackWhatWasRemoved,
        "put of",
    ),
    (
        "removing_what_is_not_there_succeeds",
        Flaw::MissesWhatIsToBeRemoved,
        "remove of",
    ),
    (
        "an_entry_is_none_of_the_others_business",
        Flaw::RemovesEverything,
        "answers with a miss",
    ),
    (
        "a_snapshot_in_hand_outlives_its_entry",
        Flaw::RemovesWhatIsInUse,
        "No such file",
    ),
    (
        "what_was_put_is_there_when_the_layer_is_opened_again",
        Flaw::KnowsOnlyItsOwn,
        "opened again",
    ),
    (
        "it_prints_its_name_and_keeps_it",
        Flaw::HasNoName,
        "it prints `a layer`",
    ),
    (
        "another_request_under_the_same_key_is_a_miss",
        Flaw::TrustsKeys,
        "another request",
    ),
    (
        "a_hit_stands_on_the_base_image_of_who_asks",
        Flaw::TakesAnyBase,
        "stands on",
    ),
    (
        "bytes_that_are_not_those_of_their_manifest_are_no_hit",
        Flaw::TrustsManifests,
        "answers with a hit",
    ),
    (
        "a_snapshot_whose_file_is_gone_is_an_error",
        Flaw::SwallowsErrors,
        "is gone succeeds",
    ),
    (
        "a_reader_sees_a_whole_entry_or_none",
        Flaw::TearsPuts,
        "its manifest says",
    ),
    (
        "many_tasks_do_each_other_no_harm",
        Flaw::SharesATemporaryFile,
        "put fails or its manifest says or answers with a miss or get fails",
    ),
    (
        "a_put_that_is_cancelled_leaves_the_whole_entry_or_none",
        Flaw::TearsPuts,
        "its manifest says",
    ),
    (
        "a_get_that_is_cancelled_leaves_nothing",
        Flaw::LittersStaging,
        "stays in staging",
    ),
    (
        "a_remove_that_is_cancelled_leaves_the_whole_entry_or_none",
        Flaw::TearsRemovals,
        "its manifest says",
    ),
    (
        "what_was_put_is_a_hit_with_its_bytes_and_its_manifest",
        Flaw::Panics,
        "it panics: no more ideas",
    ),
];

#[test]
fn there_is_a_flaw_for_every_behaviour() {
    let tried: BTreeSet<_> = FLAWS.iter().map(|(behaviour, ..)| *behaviour).collect();
    let all: BTreeSet<_> = ALL.iter().map(Behaviour::name).collect();
    assert_eq!(tried, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_flaw_is_found_by_the_behaviour_that_it_breaks() {
    for (name, flaw, told) in FLAWS {
        let behaviour = Behaviour::named(name).unwrap();
        let place = Directory::new(|root: &std::path::Path| Careless::open(root, *flaw));
        let found = check(behaviour, Arc::new(place)).await;
        let deviation = found.expect_err(&format!("{name} passes a layer with the flaw {flaw:?}"));
        assert_eq!(deviation.behaviour(), Some(*name));
        assert!(
            told.split(" or ")
                .any(|told| deviation.to_string().contains(told)),
            "{flaw:?}: {deviation}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_tries_all_is_told_of_each_behaviour_that_is_not_there() {
    check_all(|| {
        let layer = Memory::new();
        move || layer.clone()
    })
    .await
    .unwrap();
    let deviations = check_all(|| Noop::new).await.unwrap_err();
    let names: Vec<_> = deviations
        .iter()
        .filter_map(conformance::Deviation::behaviour)
        .collect();
    assert!(
        names.contains(&"what_was_put_outlives_its_source"),
        "{names:?}"
    );
    assert!(
        !names.contains(&"what_was_never_put_is_a_miss"),
        "{names:?}"
    );
    for name in names {
        assert!(deviations.to_string().contains(name), "{deviations}");
    }
}

#[test]
fn a_torn_put_is_found_when_its_process_is_killed() {
    let path = concat!(
        module_path!(),
        "::a_torn_put_is_found_when_its_process_is_killed"
    );
    let found = a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none(path, |root| {
        Careless::open(root, Flaw::TearsPuts)
    });
    let deviation = found.expect_err("a torn put passes");
    assert!(
        deviation.to_string().contains("its manifest says"),
        "{deviation}"
    );
}

#[test]
fn a_process_that_is_not_there_to_be_killed_is_told() {
    let found = a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none(
        "suite::there_is_no_such_test",
        |root| Careless::open(root, Flaw::None),
    );
    let told = found.expect_err("nothing was killed").to_string();
    assert!(
        told.contains("`there_is_no_such_test` ends by itself"),
        "{told}"
    );
}

#[tokio::test]
async fn an_unusable_store_that_is_taken_for_an_empty_one_is_found() {
    let denied = Faults::always(Fault::Refused(LayerErrorKind::Denied));
    let right = Flaky::new(Memory::new(), denied);
    a_store_that_cannot_be_used_is_an_error_and_no_miss(Arc::new(right))
        .await
        .unwrap();
    let blaming = Faults::always(Fault::Refused(LayerErrorKind::Corrupt));
    let blaming = Flaky::new(Memory::new(), blaming);
    for wrong in [
        Arc::new(Noop::new()) as Arc<dyn cache_layer::CacheLayer>,
        Arc::new(blaming),
    ] {
        a_store_that_cannot_be_used_is_an_error_and_no_miss(wrong)
            .await
            .unwrap_err();
    }
}
