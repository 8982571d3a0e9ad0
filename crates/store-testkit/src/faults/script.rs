use std::sync::Mutex;
use std::sync::PoisonError;

use super::head::RequestHead;
use super::{Fault, Requests};

/// Which faults befall which requests. Every rule counts the requests that it is for; of the rules whose turn it
/// is, the first one wins.
#[derive(Debug, Clone, Default)]
pub struct Script {
    seed: u64,
    rules: Vec<(Requests, Fault)>,
}

impl Script {
    /// A script without faults. What is random follows from `seed`, from a rule's place in the script and from a
    /// request's number in that rule, and so does not hang on how requests of other rules come in between.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            rules: Vec::new(),
        }
    }

    /// With one more rule. The first one is number 0.
    #[must_use]
    pub fn on(mut self, requests: Requests, fault: Fault) -> Self {
        self.rules.push((requests, fault));
        self
    }
}

/// A fault whose turn has come.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) rule: usize,
    pub(super) fault: Fault,
    pub(super) rng: fastrand::Rng,
}

/// A script as it is played.
#[derive(Debug)]
pub(super) struct Play {
    script: Script,
    counts: Mutex<Vec<u64>>,
}

impl Play {
    pub(super) fn new(script: Script) -> Self {
        let counts = Mutex::new(vec![0; script.rules.len()]);
        Self { script, counts }
    }

    /// The fault that befalls a request that has just come.
    pub(super) fn next(&self, request: &RequestHead) -> Option<Due> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = None;
        for (rule, (requests, fault)) in self.script.rules.iter().enumerate() {
            if !requests.include(request) {
                continue;
            }
            counts[rule] += 1;
            let mut rng = rng(self.script.seed, rule, counts[rule]);
            if requests.mean(counts[rule], &mut rng) && due.is_none() {
                let fault = *fault;
                due = Some(Due { rule, fault, rng });
            }
        }
        due
    }
}

fn rng(seed: u64, rule: usize, n: u64) -> fastrand::Rng {
    // Neighbouring seeds give unlike sequences only once they are mixed.
    let mut mixed = seed;
    for part in [rule as u64, n] {
        mixed = fastrand::Rng::with_seed(mixed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..);
    }
    fastrand::Rng::with_seed(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> RequestHead {
        let bytes = format!("{line} HTTP/1.1\r\n\r\n");
        RequestHead::read(&mut bytes.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn of_the_rules_whose_turn_it_is_the_first_wins_and_all_count() {
        let gets = || Requests::any().method("GET");
        let play = Play::new(
            Script::new(0)
                .on(gets().nth(2), Fault::DropBefore)
                .on(gets().times(2), Fault::Silence),
        );
        let get = request("GET /");
        let rules: Vec<_> = (0..3)
            .map(|_| play.next(&get).map(|due| due.rule))
            .collect();
        assert_eq!(rules, [Some(1), Some(0), None]);
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_one_others() {
        let hits = |seed| -> Vec<_> {
            let some = Requests::any().for_ever().with_chance(0.5);
            let play = Play::new(Script::new(seed).on(some, Fault::DropBefore));
            let get = request("GET /");
            (0..64).map(|_| play.next(&get).is_some()).collect()
        };
        assert_eq!(hits(1), hits(1));
        assert_ne!(hits(1), hits(2));
        let some = hits(1).iter().filter(|hit| **hit).count();
        assert!((16..48).contains(&some), "{some} of 64");
    }
}
