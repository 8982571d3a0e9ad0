//! What a hierarchy may do, as a reading of who was called: each call must be one that is due, and what comes of it
//! is remembered. It knows nothing of how a hierarchy works, and all of what one promises.

mod breaker;
mod reading;

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use self::breaker::Breaker;
use self::reading::Reading;
use crate::journal::Event;

/// How a tier is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TierPlan {
    pub(crate) is_remote: bool,
    pub(crate) fill: bool,
    pub(crate) publish: bool,
    pub(crate) has_breaker: bool,
}

/// Every call to a layer is cut off then.
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);
/// After so many failures in a row a tier with a breaker is left alone, so long at least, half as long again at most.
pub(crate) const FAILURES: u32 = 2;
pub(crate) const PAUSE: Duration = Duration::from_millis(400);

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) tiers: Vec<TierPlan>,
    /// What each layer holds, by the number of the spec.
    pub(crate) shelves: Vec<HashSet<usize>>,
    pub(crate) counts: Vec<Counts>,
    pub(crate) builds: Builds,
    gets: Vec<Breaker>,
    puts: Vec<Breaker>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) skipped: u64,
    pub(crate) cancelled: u64,
    pub(crate) get_errors: u64,
    pub(crate) get_deadlines: u64,
    pub(crate) puts: u64,
    pub(crate) puts_skipped: u64,
    pub(crate) puts_cancelled: u64,
    pub(crate) put_errors: u64,
    pub(crate) put_deadlines: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Builds {
    pub(crate) built: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

/// What somebody is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Found {
        source: &'static str,
        /// Whose copy it is.
        holder: &'static str,
        kept: bool,
    },
    Failed,
}

/// A request as it was made and answered.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) spec: usize,
    pub(crate) has_packages: bool,
    pub(crate) asked_at: Instant,
    /// What each asker was answered; `None` for one that left first.
    pub(crate) answers: Vec<Option<Outcome>>,
}

/// Something that is not as it is promised.
pub(crate) type Broken = String;

impl Model {
    pub(crate) fn new(tiers: Vec<TierPlan>) -> Self {
        let breakers = || {
            tiers
                .iter()
                .map(|tier| Breaker::new(tier.has_breaker))
                .collect()
        };
        Self {
            shelves: vec![HashSet::new(); tiers.len()],
            counts: vec![Counts::default(); tiers.len()],
            builds: Builds::default(),
            gets: breakers(),
            puts: breakers(),
            tiers,
        }
    }

    /// Reads who was called on behalf of `request`.
    pub(crate) fn read(&mut self, request: &Request, events: &[Event]) -> Result<(), Broken> {
        let near = self.tiers.iter().position(|tier| tier.is_remote);
        let near = near.unwrap_or(self.tiers.len());
        let mut reading = Reading::of(self, near, request);
        for (index, event) in events.iter().enumerate() {
            reading
                .event(event)
                .map_err(|broken| format!("{broken}, at {index} in {events:#?}"))?;
        }
        reading
            .over(&request.answers)
            .map_err(|broken| format!("{broken}, after {events:#?}"))
    }
}

fn require(is_so: bool, otherwise: &str) -> Result<(), Broken> {
    if is_so {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}
