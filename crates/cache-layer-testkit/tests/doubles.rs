//! The doubles do what they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use cache_layer::{BuildErrorKind, CacheLayer, LayerErrorKind, Lookup, Snapshot, SnapshotBuilder};
use cache_layer_testkit::Workshop;
use cache_layer_testkit::doubles::{
    Event, Fault, Faults, Flaky, Gate, Gated, Journal, Memory, Noop, Operation, Quick, Recording,
    Slow,
};

const DENIED: Fault<LayerErrorKind> = Fault::Refused(LayerErrorKind::Denied);

fn sample() -> (Workshop, Snapshot) {
    let workshop = Workshop::new().unwrap();
    let snapshot = workshop.snapshot(&workshop.spec("a==1")).unwrap();
    (workshop, snapshot)
}

async fn get(layer: &impl CacheLayer, workshop: &Workshop) -> Result<Lookup, LayerErrorKind> {
    let got = layer.get(&workshop.spec("a==1"), workshop.staging()).await;
    got.map_err(|error| error.kind())
}

#[tokio::test]
async fn memory_gives_back_what_it_was_given_in_a_file_of_its_own() {
    let (workshop, snapshot) = sample();
    let memory = Memory::new();
    assert!(!get(&memory, &workshop).await.unwrap().is_hit());
    memory.put(&snapshot).await.unwrap();
    assert_eq!(memory.keys(), [snapshot.key().clone()]);
    let bytes = fs::read(snapshot.path()).unwrap();
    drop(snapshot);
    let hit = get(&memory, &workshop).await.unwrap().hit().unwrap();
    assert!(fs::read(hit.path()).unwrap() == bytes);
    memory.remove(hit.key()).await.unwrap();
    assert!(!memory.has(hit.key()) && !get(&memory, &workshop).await.unwrap().is_hit());
    drop(hit);
    assert!(workshop.staged_files().unwrap().is_empty());
}

#[tokio::test]
async fn quick_builds_disks_of_which_no_two_are_alike() {
    let workshop = Workshop::new().unwrap();
    let (quick, spec) = (Quick::new(), workshop.spec("a==1"));
    let one = quick.build(&spec, workshop.staging()).await.unwrap();
    let other = quick.build(&spec, workshop.staging()).await.unwrap();
    assert_eq!(quick.builds(), 2);
    assert_ne!(one.manifest().disk().blake3, other.manifest().disk().blake3);
    assert_eq!(one.manifest().spec(), other.manifest().spec());
}

#[tokio::test]
async fn noop_has_nothing_keeps_nothing_and_builds_nothing() {
    let (workshop, snapshot) = sample();
    let noop = Noop::named("nothing");
    let put = noop.put(&snapshot).await.unwrap();
    assert_eq!(put.path(), snapshot.path());
    assert!(!get(&noop, &workshop).await.unwrap().is_hit());
    let built = noop.build(&workshop.spec("a==1"), workshop.staging()).await;
    assert_eq!(built.unwrap_err().kind(), BuildErrorKind::Host);
    assert_eq!(
        (noop.name(), noop.to_string().as_str()),
        ("nothing", "nothing")
    );
}

#[tokio::test]
async fn flaky_fails_by_its_script_and_may_lose_the_answer_only() {
    let (workshop, snapshot) = sample();
    let memory = Memory::new();
    let lost = Fault::AnswerLost(LayerErrorKind::Unavailable { temporary: true });
    let faults = Faults::script([Some(DENIED), None, Some(lost)]);
    let flaky = Flaky::new(memory.clone(), faults.clone()).only(&[Operation::Put]);

    assert_eq!(
        flaky.put(&snapshot).await.unwrap_err().kind(),
        LayerErrorKind::Denied
    );
    assert!(
        memory.keys().is_empty(),
        "nothing is done of what is refused"
    );
    assert!(!get(&flaky, &workshop).await.unwrap().is_hit());
    flaky.put(&snapshot).await.unwrap();
    memory.remove(snapshot.key()).await.unwrap();
    flaky.put(&snapshot).await.unwrap_err();
    assert!(memory.has(snapshot.key()), "only its answer is lost");

    faults.fail(DENIED);
    flaky.put(&snapshot).await.unwrap_err();
    faults.heal();
    flaky.put(&snapshot).await.unwrap();
}

#[tokio::test]
async fn flaky_by_a_seed_fails_the_same_calls_each_time() {
    let workshop = Workshop::new().unwrap();
    let run = async || {
        let faults = Faults::seeded(7, 3, [DENIED, Fault::Refused(LayerErrorKind::Corrupt)]);
        let flaky = Flaky::new(Noop::new(), faults);
        let mut failed = Vec::new();
        for _ in 0..60 {
            failed.push(get(&flaky, &workshop).await.err());
        }
        failed
    };
    let once = run().await;
    assert_eq!(once, run().await);
    let failures = once.iter().flatten().count();
    assert!((10..=30).contains(&failures), "{failures}");
    let never = Flaky::new(Noop::new(), Faults::seeded(7, 0, [DENIED]));
    get(&never, &workshop).await.map(drop).unwrap();
    let no_ways = Flaky::new(Noop::new(), Faults::seeded(7, 1, []));
    get(&no_ways, &workshop).await.map(drop).unwrap();
}

#[tokio::test]
#[should_panic(expected = "noop panics, as a test wants it to")]
async fn flaky_panics_when_it_is_to() {
    let workshop = Workshop::new().unwrap();
    let flaky = Flaky::new(Noop::new(), Faults::<BuildErrorKind>::always(Fault::Panic));
    let _ = flaky
        .build(&workshop.spec("a==1"), workshop.staging())
        .await;
}

#[tokio::test]
async fn gated_waits_until_it_is_let_through_and_counts_who_leaves() {
    let (workshop, gate) = (Workshop::new().unwrap(), Gate::closed());
    let gated = Gated::new(Quick::new(), gate.clone());
    let ask = || {
        let (gated, spec) = (gated.clone(), workshop.spec("a==1"));
        let staging = workshop.staging().clone();
        tokio::spawn(async move { gated.build(&spec, &staging).await })
    };
    let (one, other) = (ask(), ask());
    gate.arrived(2).await;
    assert_eq!((gate.arrivals(), gate.waiting()), (2, 2));
    one.abort();
    gate.left(1).await;
    assert_eq!(gate.waiting(), 1);
    gate.let_through(1);
    other.await.unwrap().unwrap();
    gate.passed(1).await;
    let third = ask();
    gate.arrived(3).await;
    assert_eq!(gate.waiting(), 1, "one was let through, and no more");
    gate.open();
    third.await.unwrap().unwrap();
    ask().await.unwrap().unwrap();
    gate.close();
    let last = ask();
    gate.arrived(5).await;
    last.abort();
    gate.left(2).await;
}

#[tokio::test]
async fn recording_writes_down_the_order_across_layers_and_how_each_call_ended() {
    let (workshop, snapshot) = sample();
    let (journal, gate) = (Journal::new(), Gate::closed());
    let top = Recording::new(Memory::named("top"), journal.clone());
    let bottom = Flaky::new(Noop::named("bottom"), Faults::always(DENIED));
    let bottom = Recording::new(bottom, journal.clone());
    let builder = Recording::new(Gated::new(Quick::new(), gate), journal.clone());

    get(&top, &workshop).await.map(drop).unwrap();
    get(&bottom, &workshop).await.map(drop).unwrap_err();
    let (spec, staging) = (workshop.spec("a==1"), workshop.staging().clone());
    let build = tokio::spawn(async move { builder.build(&spec, &staging).await });
    journal.until(|entries| entries.len() == 5).await;
    build.abort();
    journal
        .until(|entries| {
            entries
                .last()
                .is_some_and(|last| last.event == Event::Dropped)
        })
        .await;
    top.put(&snapshot).await.unwrap();
    get(&top, &workshop).await.map(drop).unwrap();

    let calls = [
        ("top", Operation::Get),
        ("bottom", Operation::Get),
        ("builder", Operation::Build),
        ("top", Operation::Put),
        ("top", Operation::Get),
    ];
    assert_eq!(journal.calls(), calls);
    let ends: Vec<_> = journal
        .entries()
        .into_iter()
        .filter(|entry| entry.event != Event::Began)
        .map(|entry| (entry.call, entry.event))
        .collect();
    let denied = Event::Failed(LayerErrorKind::Denied);
    assert_eq!(
        ends,
        [
            (0, Event::Miss),
            (1, denied),
            (2, Event::Dropped),
            (3, Event::Done),
            (4, Event::Hit),
        ]
    );
    assert_eq!(journal.count("top", Operation::Get), 2);
    assert_eq!(journal.to_string().lines().count(), 10);
}

#[tokio::test(start_paused = true)]
async fn slow_takes_its_time_by_tokios_clock() {
    let workshop = Workshop::new().unwrap();
    let hour = Duration::from_secs(3600);
    let slow = Slow::by(hour, Noop::new()).only(&[Operation::Get]);
    let began = tokio::time::Instant::now();
    slow.remove(&workshop.spec("a==1").key()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    get(&slow, &workshop).await.map(drop).unwrap();
    assert_eq!(began.elapsed(), hour);
}
