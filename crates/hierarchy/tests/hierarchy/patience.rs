//! Tiers that are slow, stalled or down, and what that costs those who ask.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use hierarchy::{BreakerSettings, Deadlines, Hierarchy, Source, Tier};
use tokio::time::Instant;

use crate::common::{spec, staging};
use crate::journal::{End, Journal, Op};
use crate::shelf::{Failure, Manner, Shelf, Workshop};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(600);

/// A local and a remote shelf, and a workshop.
struct Stack {
    cache: Hierarchy,
    near: Arc<Shelf>,
    far: Arc<Shelf>,
    workshop: Arc<Workshop>,
    journal: Journal,
    _root: tempfile::TempDir,
}

/// The remote tier as `far` makes it.
fn stack(far: impl Fn(Tier) -> Tier) -> Stack {
    let (root, staging) = staging();
    let journal = Journal::default();
    let (near, remote) = (
        Arc::new(Shelf::new(0, false, &journal)),
        Arc::new(Shelf::new(1, true, &journal)),
    );
    let workshop = Arc::new(Workshop::new(&journal));
    let tiers = [Tier::local(near.clone()), far(Tier::remote(remote.clone()))];
    Stack {
        cache: Hierarchy::new(tiers, workshop.clone(), staging),
        near,
        far: remote,
        workshop,
        journal,
        _root: root,
    }
}

fn at_most(get: Duration) -> Deadlines {
    Deadlines {
        get: Some(get),
        put: None,
    }
}

fn breaker(failures: u32, pause: Duration) -> Option<BreakerSettings> {
    let failures = NonZero::new(failures).unwrap();
    Some(BreakerSettings { failures, pause })
}

impl Stack {
    async fn get(&self, package: &str) -> Source {
        self.cache.get(&spec([package])).await.unwrap().source
    }

    /// How often the remote shelf was asked.
    fn far_gets(&self) -> usize {
        let events = self.journal.events();
        let is_get = |event: &&_| {
            matches!(
                event,
                crate::journal::Event {
                    op: Op::Get(1),
                    end: None,
                    ..
                }
            )
        };
        events.iter().filter(is_get).count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_over_its_deadline_is_cancelled_and_is_an_error_of_its_own_kind() {
    let stack = stack(|tier| tier.with_deadlines(at_most(5 * SECOND)));
    stack.far.set_gets(Manner::Stalled);

    let began = Instant::now();
    assert_eq!(stack.get("a==1").await, Source::Built);

    assert_eq!(began.elapsed(), 5 * SECOND);
    let events = stack.journal.events();
    let dropped =
        |event: &crate::journal::Event| event.op == Op::Get(1) && event.end == Some(End::Dropped);
    assert!(events.iter().any(dropped), "{events:?}");
    let far = &stack.cache.stats().layers[1];
    assert_eq!((far.get_errors.deadline, far.get_errors.total()), (1, 1));
    assert_eq!((far.misses, far.cancelled), (0, 0));
    assert_eq!(far.get_latency.total_us, 5_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_put_over_its_deadline_is_an_error_of_its_own_kind_and_others_store_it() {
    let stack = stack(|tier| {
        tier.with_deadlines(Deadlines {
            get: None,
            put: Some(5 * SECOND),
        })
    });
    stack.far.set_puts(Manner::Stalled);

    let began = Instant::now();
    assert_eq!(stack.get("a==1").await, Source::Built);
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "nobody waits for an upload"
    );
    assert_eq!(stack.cache.shutdown(LONG).await, []);

    assert!(stack.near.holds(&spec(["a==1"]).key()));
    let far = &stack.cache.stats().layers[1];
    assert_eq!((far.put_errors.deadline, far.puts), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_remote_tier_that_stalls_is_left_alone_and_probed_by_one_until_it_answers() {
    let pause = 30 * SECOND;
    let stack = stack(|tier| {
        tier.with_deadlines(at_most(2 * SECOND))
            .with_breaker(breaker(2, pause))
    });
    stack.far.set_gets(Manner::Stalled);
    for package in ["a==1", "a==2"] {
        assert_eq!(stack.get(package).await, Source::Built);
    }

    // Left alone, it costs nothing.
    let began = Instant::now();
    for package in ["a==3", "a==4", "a==5"] {
        assert_eq!(stack.get(package).await, Source::Built);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(stack.far_gets(), 2);
    let far = &stack.cache.stats().layers[1];
    assert_eq!((far.skipped, far.misses, far.get_errors.total()), (3, 0, 2));

    // Many come after the pause: one of them tries it.
    tokio::time::sleep(pause.mul_f64(1.5)).await;
    let names = ["b==1", "b==2", "b==3"];
    let began = Instant::now();
    let probing = names.map(|name| stack.get(name));
    assert_eq!(futures::future::join_all(probing).await, [Source::Built; 3]);
    assert_eq!(began.elapsed(), 2 * SECOND);
    assert_eq!(stack.far_gets(), 3);

    // It answers, and is asked by everybody again.
    tokio::time::sleep(pause.mul_f64(1.5)).await;
    stack.far.set_gets(Manner::Well);
    for package in ["c==1", "c==2"] {
        stack.far.stock(&spec([package]));
        assert_eq!(stack.get(package).await, Source::Layer("second"));
    }
    assert_eq!(stack.cache.stats().layers[1].hits, 2);
}

#[tokio::test(start_paused = true)]
async fn while_a_remote_tier_is_left_alone_a_local_hit_is_a_hit() {
    let stack = stack(|tier| tier.with_breaker(breaker(1, LONG)));
    stack.far.set_gets(Manner::Failing(Failure::Unavailable));
    assert_eq!(stack.get("a==1").await, Source::Built);
    assert_eq!(stack.get("a==1").await, Source::Layer("first"));
    assert_eq!(stack.get("a==2").await, Source::Built);
    let far = &stack.cache.stats().layers[1];
    assert_eq!((far.get_errors.unavailable, far.skipped), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_refuses_access_answers_and_is_asked_each_time() {
    let stack = stack(|tier| tier.with_breaker(breaker(1, LONG)));
    stack.far.set_gets(Manner::Failing(Failure::Denied));
    for package in ["a==1", "a==2", "a==3"] {
        assert_eq!(stack.get(package).await, Source::Built);
    }
    let far = &stack.cache.stats().layers[1];
    assert_eq!((far.get_errors.denied, far.skipped), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_local_tier_that_cannot_be_written_to_is_read_from() {
    let (_root, staging) = staging();
    let journal = Journal::default();
    let near = Arc::new(Shelf::new(0, false, &journal));
    near.set_puts(Manner::Failing(Failure::Unavailable));
    near.stock(&spec(["a==1"]));
    let tiers = [Tier::local(near).with_breaker(breaker(1, LONG))];
    let cache = Hierarchy::new(tiers, Arc::new(Workshop::new(&journal)), staging);

    for package in ["b==1", "b==2", "b==3"] {
        let answer = cache.get(&spec([package])).await.unwrap();
        assert_eq!((answer.source, answer.kept), (Source::Built, false));
    }
    let answer = cache.get(&spec(["a==1"])).await.unwrap();
    assert_eq!(answer.source, Source::Layer("first"));
    let near = &cache.stats().layers[0];
    assert_eq!((near.put_errors.unavailable, near.puts_skipped), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_tier_costs_only_those_who_need_it() {
    let stack = stack(|tier| tier.with_deadlines(Deadlines::NONE));
    stack.near.stock(&spec(["here==1"]));
    stack.far.set_gets(Manner::Stalled);
    let cache = stack.cache.clone();
    let stuck = tokio::spawn(async move { cache.get(&spec(["there==1"])).await });
    while stack.far_gets() == 0 {
        tokio::task::yield_now().await;
    }

    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(stack.get("here==1").await, Source::Layer("first"));
    }
    // Those without packages need it as little.
    assert_eq!(
        stack.cache.get(&spec([])).await.unwrap().source,
        Source::Built
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(!stuck.is_finished());
    stuck.abort();
    assert!(stuck.await.unwrap_err().is_cancelled());
    stack.journal.settled().await;
    assert_eq!(stack.cache.stats().layers[1].cancelled, 1);
}

mod hedging {
    use super::*;

    /// How often something was stored, in all layers together, and how often built.
    fn stores_and_builds(stack: &Stack) -> (u64, u64) {
        let stats = stack.cache.stats();
        let stores = stats.layers.iter().map(|layer| layer.puts).sum();
        (stores, stats.builder.built)
    }

    fn hedged() -> Stack {
        stack(|tier| tier.with_hedge(Some(SECOND)))
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_off_where_nothing_is_said() {
        let stack = stack(|tier| tier);
        stack.far.stock(&spec(["a==1"]));
        stack.far.set_gets(Manner::After(60 * SECOND));
        assert_eq!(stack.get("a==1").await, Source::Layer("second"));
        assert_eq!(stack.cache.stats().builder.hedged, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tier_that_answers_in_time_has_no_build_beside_it() {
        let stack = hedged();
        stack.far.stock(&spec(["a==1"]));
        stack.far.set_gets(Manner::After(SECOND / 2));
        assert_eq!(stack.get("a==1").await, Source::Layer("second"));
        let builder = stack.cache.stats().builder;
        assert_eq!((builder.hedged, builder.cancelled), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_that_is_faster_than_a_slow_tier_wins_and_the_download_is_cancelled() {
        let stack = hedged();
        stack.far.stock(&spec(["a==1"]));
        stack.far.set_gets(Manner::After(60 * SECOND));
        stack.workshop.set(Manner::After(10 * SECOND));

        let began = Instant::now();
        assert_eq!(stack.get("a==1").await, Source::Built);

        assert_eq!(began.elapsed(), 11 * SECOND);
        stack.cache.shutdown(LONG).await;
        // Once into each layer.
        assert_eq!(stores_and_builds(&stack), (2, 1));
        let stats = stack.cache.stats();
        let far = &stats.layers[1];
        assert_eq!((far.cancelled, far.hits, far.misses), (1, 0, 0));
        assert_eq!(far.get_errors.total(), 0);
        assert_eq!((stats.builder.hedged, stats.builder.cancelled), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_tier_that_is_faster_than_the_build_wins_and_the_build_is_cancelled() {
        let stack = hedged();
        stack.far.stock(&spec(["a==1"]));
        stack.far.set_gets(Manner::After(5 * SECOND));
        stack.workshop.set(Manner::After(10 * SECOND));

        let began = Instant::now();
        assert_eq!(stack.get("a==1").await, Source::Layer("second"));

        assert_eq!(began.elapsed(), 5 * SECOND);
        stack.cache.shutdown(LONG).await;
        assert_eq!(stores_and_builds(&stack), (1, 0));
        assert!(stack.near.holds(&spec(["a==1"]).key()));
        let stats = stack.cache.stats();
        assert_eq!((stats.layers[1].hits, stats.layers[1].cancelled), (1, 0));
        assert_eq!((stats.builder.hedged, stats.builder.cancelled), (1, 1));
        assert_eq!(stats.builder.errors.total(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_miss_leaves_the_build_that_began_beside_it() {
        let stack = hedged();
        stack.far.set_gets(Manner::After(5 * SECOND));
        stack.workshop.set(Manner::After(10 * SECOND));

        let began = Instant::now();
        assert_eq!(stack.get("a==1").await, Source::Built);

        assert_eq!(began.elapsed(), 11 * SECOND);
        let stats = stack.cache.stats();
        assert_eq!((stats.layers[1].misses, stats.builder.built), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_that_fails_first_leaves_the_word_to_the_tier() {
        let stack = hedged();
        stack.far.set_gets(Manner::After(5 * SECOND));
        stack.workshop.set(Manner::Failing(Failure::Unavailable));
        stack.far.stock(&spec(["a==1"]));
        assert_eq!(stack.get("a==1").await, Source::Layer("second"));

        let error = stack.cache.get(&spec(["a==2"])).await.unwrap_err();
        assert_eq!(error.to_string(), "find a bench");
        let stats = stack.cache.stats();
        assert_eq!((stats.layers[1].hits, stats.layers[1].misses), (1, 1));
        assert_eq!(stats.builder.errors.temporary, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_last_asker_leaves_both_stop() {
        let stack = hedged();
        stack.far.set_gets(Manner::Stalled);
        stack.workshop.set(Manner::Stalled);
        let asked = tokio::time::timeout(5 * SECOND, stack.get("a==1")).await;
        asked.unwrap_err();
        stack.journal.settled().await;
        let stats = stack.cache.stats();
        assert_eq!((stats.layers[1].cancelled, stats.builder.cancelled), (1, 1));
    }
}
