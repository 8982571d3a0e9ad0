//! Histories of what can happen to a cache, thought up by chance, each call in them held against the [`Model`].
//!
//! What fails is kept in `regressions.txt` and tried first from then on. `SNAPTIER_LONG_TESTS=1` tries more.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cache_key::SnapshotSpec;
use cache_layer::{CacheLayer, Staging};
use hierarchy::{Answer, BreakerSettings, Deadlines, GetError, Hierarchy, Tier, Writes};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use tokio::time::Instant;

use crate::common::{spec, staging};
use crate::journal::{ASKER, Journal};
use crate::model::{Broken, DEADLINE, FAILURES, Model, Outcome, PAUSE, Request, TierPlan};
use crate::shelf::{Failure, Manner, NAMES, Shelf, WORKSHOP, Workshop};

#[test]
fn every_call_in_every_history_is_the_one_that_is_due() {
    let config = Config {
        cases: histories(),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/hierarchy/regressions.txt",
        ))),
        ..Config::default()
    };
    if let Err(error) = run(config, None) {
        panic!("{error}");
    }
}

#[test]
fn a_planted_fault_in_the_ordering_is_found() {
    for plant in [
        Plant::AsksTheSecondLayerFirst,
        Plant::FillsNoLayer,
        Plant::PublishesToLayersThatAreOnlyFilled,
        Plant::TakesARemoteLayerForALocalOne,
        Plant::NeverGivesUpOnALayer,
    ] {
        let config = Config {
            cases: histories(),
            failure_persistence: None,
            ..Config::default()
        };
        let found = run(config, Some(plant));
        assert!(
            matches!(found, Err(TestError::Fail(..))),
            "{plant:?} is not found"
        );
    }
}

/// A fault that a hierarchy could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    AsksTheSecondLayerFirst,
    FillsNoLayer,
    PublishesToLayersThatAreOnlyFilled,
    TakesARemoteLayerForALocalOne,
    NeverGivesUpOnALayer,
}

fn histories() -> u32 {
    let is_long = std::env::var_os("SNAPTIER_LONG_TESTS").is_some_and(|value| value == "1");
    if is_long { 50_000 } else { 1_000 }
}

fn run(config: Config, plant: Option<Plant>) -> Result<(), TestError<History>> {
    let (_root, staging) = staging();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    TestRunner::new(config).run(&history(), |history| {
        let told = runtime.block_on(AssertUnwindSafe(played(&history, &staging, plant)));
        told.map_err(TestCaseError::fail)
    })
}

#[derive(Debug, Clone)]
struct History {
    tiers: Vec<TierPlan>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Some ask for it at once, and leave after a time if they are not answered by then.
    Ask {
        spec: usize,
        patience: Vec<Option<Duration>>,
    },
    /// A layer loses it.
    Remove {
        layer: usize,
        spec: usize,
    },
    /// A layer has it from elsewhere.
    Stock {
        layer: usize,
        spec: usize,
    },
    Gets {
        layer: usize,
        manner: Manner,
    },
    Puts {
        layer: usize,
        manner: Manner,
    },
    Builds(Manner),
    Wait(Duration),
}

/// Two with packages, and one without.
const SPECS: usize = 3;

fn history() -> impl Strategy<Value = History> {
    let tier = (any::<[bool; 4]>()).prop_map(|[is_remote, fill, publish, has_breaker]| TierPlan {
        is_remote,
        fill,
        publish,
        has_breaker,
    });
    let tiers = prop::collection::vec(tier, 1..=4);
    let steps = prop::collection::vec(step(), 1..40);
    (tiers, steps).prop_map(|(tiers, steps)| History { tiers, steps })
}

fn step() -> impl Strategy<Value = Step> {
    // Everything takes an even number of milliseconds, and patience ends at an odd one: never in the same instant.
    let leaves = (0..150_u64).prop_map(|half| Duration::from_millis(2 * half + 1));
    let patience = prop_oneof![2 => Just(None), 1 => leaves.prop_map(Some)];
    let (layer, spec) = (0..4_usize, 0..SPECS);
    prop_oneof![
        10 => (spec.clone(), prop::collection::vec(patience, 1..=3))
            .prop_map(|(spec, patience)| Step::Ask { spec, patience }),
        2 => (layer.clone(), spec.clone()).prop_map(|(layer, spec)| Step::Remove { layer, spec }),
        2 => (layer.clone(), spec).prop_map(|(layer, spec)| Step::Stock { layer, spec }),
        2 => (layer.clone(), manner()).prop_map(|(layer, manner)| Step::Gets { layer, manner }),
        2 => (layer, manner()).prop_map(|(layer, manner)| Step::Puts { layer, manner }),
        1 => manner()
            .prop_filter("a build has no deadline", |manner| *manner != Manner::Stalled)
            .prop_map(Step::Builds),
        1 => (0..500_u64).prop_map(|half| Step::Wait(Duration::from_millis(2 * half))),
    ]
}

fn manner() -> impl Strategy<Value = Manner> {
    let after = |ms| Just(Manner::After(Duration::from_millis(ms)));
    prop_oneof![
        3 => Just(Manner::Well),
        1 => after(2),
        1 => after(60),
        1 => after(200),
        1 => Just(Manner::Failing(Failure::Unavailable)),
        1 => Just(Manner::Failing(Failure::Denied)),
        1 => Just(Manner::Stalled),
    ]
}

/// Plays `history` to a hierarchy, with a fault in it if one is to be planted.
async fn played(history: &History, staging: &Staging, plant: Option<Plant>) -> Result<(), Broken> {
    let mut stage = Stage::new(&history.tiers, staging, plant);
    for step in &history.steps {
        stage.play(step).await?;
        stage
            .compare()
            .map_err(|broken| format!("{broken}, after {step:?}"))?;
    }
    Ok(())
}

/// A hierarchy, what it is made of, and what it should be like.
struct Stage {
    cache: Hierarchy,
    shelves: Vec<Arc<Shelf>>,
    workshop: Arc<Workshop>,
    journal: Journal,
    model: Model,
    specs: [SnapshotSpec; SPECS],
}

impl Stage {
    fn new(tiers: &[TierPlan], staging: &Staging, plant: Option<Plant>) -> Self {
        let journal = Journal::default();
        let number = tiers.iter().enumerate();
        let shelves: Vec<_> = number
            .map(|(number, tier)| Arc::new(Shelf::new(number, tier.is_remote, &journal)))
            .collect();
        let workshop = Arc::new(Workshop::new(&journal));
        let stack = tiers.iter().zip(&shelves);
        let mut stack: Vec<_> = stack
            .map(|(plan, shelf)| tier(*plan, shelf, plant))
            .collect();
        if plant == Some(Plant::AsksTheSecondLayerFirst) && stack.len() > 1 {
            stack.swap(0, 1);
        }
        Self {
            cache: Hierarchy::new(stack, workshop.clone(), staging.clone()),
            shelves,
            workshop,
            journal,
            model: Model::new(tiers.to_vec()),
            specs: [spec(["a==1"]), spec(["b==1"]), spec([])],
        }
    }

    async fn play(&mut self, step: &Step) -> Result<(), Broken> {
        // A layer that this stack does not have is one that it has.
        let of = |layer: &usize| layer % self.shelves.len();
        match step {
            Step::Ask { spec, patience } => return self.ask(*spec, patience).await,
            Step::Remove { layer, spec } => {
                let layer = of(layer);
                let removed = self.shelves[layer].remove(&self.specs[*spec].key()).await;
                removed.map_err(|error| error.to_string())?;
                self.model.shelves[layer].remove(spec);
            }
            Step::Stock { layer, spec } => {
                let layer = of(layer);
                self.shelves[layer].stock(&self.specs[*spec]);
                self.model.shelves[layer].insert(*spec);
            }
            Step::Gets { layer, manner } => self.shelves[of(layer)].set_gets(*manner),
            Step::Puts { layer, manner } => self.shelves[of(layer)].set_puts(*manner),
            Step::Builds(manner) => self.workshop.set(*manner),
            Step::Wait(time) => tokio::time::sleep(*time).await,
        }
        Ok(())
    }

    async fn ask(&mut self, spec: usize, patience: &[Option<Duration>]) -> Result<(), Broken> {
        let asked_at = Instant::now();
        let asked = patience.iter().enumerate().map(|(asker, patience)| {
            let (cache, wanted) = (self.cache.clone(), self.specs[spec].clone());
            let patience = patience.unwrap_or(Duration::from_secs(3600));
            let ask = async move { tokio::time::timeout(patience, cache.get(&wanted)).await };
            tokio::spawn(ASKER.scope(asker, ask))
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = Vec::new();
        for asked in asked {
            let answer = asked.await.map_err(|error| error.to_string())?;
            answers.push(answer.ok().map(outcome).transpose()?);
        }
        // What is begun in the background has begun when time goes on.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let events = self.journal.settled().await;
        let request = Request {
            spec,
            has_packages: !self.specs[spec].packages().is_empty(),
            asked_at,
            answers,
        };
        self.model.read(&request, &events)
    }

    /// Holds the layers' content and the statistics against the model's.
    fn compare(&self) -> Result<(), Broken> {
        for (layer, shelf) in self.shelves.iter().enumerate() {
            for (number, spec) in self.specs.iter().enumerate() {
                let (is, should_be) = (
                    shelf.holds(&spec.key()),
                    self.model.shelves[layer].contains(&number),
                );
                if is != should_be {
                    return Err(format!("layer {layer} holds spec {number}: {is}"));
                }
            }
        }
        let stats = self.cache.stats();
        let builds = crate::model::Builds {
            built: stats.builder.built,
            failed: stats.builder.errors.total(),
            cancelled: stats.builder.cancelled,
        };
        if builds != self.model.builds {
            return Err(format!("{builds:?} counted, {:?} seen", self.model.builds));
        }
        for layer in stats.layers {
            let number = NAMES.iter().position(|name| *name == layer.name);
            let seen = self.model.counts[number.unwrap()];
            let counted = crate::model::Counts {
                hits: layer.hits,
                misses: layer.misses,
                skipped: layer.skipped,
                cancelled: layer.cancelled,
                get_errors: layer.get_errors.total() - layer.get_errors.deadline,
                get_deadlines: layer.get_errors.deadline,
                puts: layer.puts,
                puts_skipped: layer.puts_skipped,
                puts_cancelled: layer.puts_cancelled,
                put_errors: layer.put_errors.total() - layer.put_errors.deadline,
                put_deadlines: layer.put_errors.deadline,
            };
            if counted != seen {
                return Err(format!(
                    "{}: {counted:?} counted, {seen:?} seen",
                    layer.name
                ));
            }
        }
        Ok(())
    }
}

fn tier(plan: TierPlan, shelf: &Arc<Shelf>, plant: Option<Plant>) -> Tier {
    let is_planted = |other| plant == Some(other);
    let is_local = !plan.is_remote || is_planted(Plant::TakesARemoteLayerForALocalOne);
    let tier = if is_local {
        Tier::local(shelf.clone())
    } else {
        Tier::remote(shelf.clone())
    };
    let has_breaker = plan.has_breaker && !is_planted(Plant::NeverGivesUpOnALayer);
    let breaker = BreakerSettings {
        failures: FAILURES.try_into().unwrap(),
        pause: PAUSE,
    };
    tier.with_writes(Writes {
        fill: plan.fill && !is_planted(Plant::FillsNoLayer),
        publish: plan.publish || plan.fill && is_planted(Plant::PublishesToLayersThatAreOnlyFilled),
    })
    .with_deadlines(Deadlines {
        get: Some(DEADLINE),
        put: Some(DEADLINE),
    })
    .with_breaker(has_breaker.then_some(breaker))
}

fn outcome(answer: Result<Answer, GetError>) -> Result<Outcome, Broken> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(GetError::Build(_)) => return Ok(Outcome::Failed),
        Err(error) => return Err(error.to_string()),
    };
    let mut holders = NAMES.iter().chain([&WORKSHOP]);
    let is_holder = |name: &&&str| answer.snapshot.path().starts_with(format!("/{name}"));
    let holder = holders.find(is_holder).ok_or("a snapshot of nobody's")?;
    Ok(Outcome::Found {
        source: answer.source.as_str(),
        holder,
        kept: answer.kept,
    })
}
