//! Leaving a tier alone that does not answer.
//!
//! ```text
//!            failures in a row             the pause is over: one probe
//!   closed ────────────────────► open ──────────────────────────────► half-open
//!      ▲                          ▲                                   │   │
//!      │                          └───────────────────────────────────┘   │
//!      └──────────────────────────────────────────────────────────────────┘
//!                          the probe failed (up), was answered (down)
//! ```
//!
//! Time and chance come from outside, so that every turn of it can be tested.

use std::num::NonZero;
use std::time::Duration;

use tokio::time::Instant;

/// When a tier that does not answer is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// How many calls in a row must fail by the tier's own fault.
    pub failures: NonZero<u32>,
    /// For how long the tier is left alone before one call tries it again. Up to half as long is added by
    /// chance, so that the hosts that share a tier do not all come back to it at once.
    pub pause: Duration,
}

impl Default for BreakerSettings {
    /// Five failures in a row, half a minute.
    fn default() -> Self {
        Self {
            failures: NonZero::new(5).unwrap_or(NonZero::<u32>::MIN),
            pause: Duration::from_secs(30),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Counts the states, so that what was let in during an earlier one decides nothing about this one.
    epoch: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Everybody is let in.
    Closed { failures: u32 },
    /// Nobody is.
    Open { until: Instant },
    /// One was, and everybody waits for what becomes of it.
    HalfOpen,
}

/// Leave to call the tier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    epoch: u64,
}

/// What a call says about the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, whatever it said.
    Answered,
    /// It could not, or not in time.
    Failed,
    /// Nothing: the caller did not wait for the answer.
    Unknown,
}

/// A change that whoever runs the program should know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The tier is left alone from now on, for this long.
    Opened(Duration),
    /// The tier answers again.
    Closed,
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: State::Closed { failures: 0 },
            epoch: 0,
        }
    }

    /// Leave to call the tier at the time `now`, or none. Every pass must be [settled](Self::settle).
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Pass> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until } if until <= now => self.enter(State::HalfOpen),
            State::Open { .. } | State::HalfOpen => return None,
        }
        Some(Pass { epoch: self.epoch })
    }

    /// Takes note of what became of a call. `chance` is between 0 and 1.
    pub(crate) fn settle(
        &mut self,
        pass: Pass,
        verdict: Verdict,
        now: Instant,
        chance: f64,
    ) -> Option<Turn> {
        if pass.epoch != self.epoch {
            return None;
        }
        match (self.state, verdict) {
            (State::Closed { failures }, Verdict::Failed) => {
                let failures = failures + 1;
                if failures >= self.settings.failures.get() {
                    return Some(self.open(now, chance));
                }
                self.state = State::Closed { failures };
                None
            }
            (State::Closed { .. }, Verdict::Answered) => {
                self.state = State::Closed { failures: 0 };
                None
            }
            (State::HalfOpen, Verdict::Failed) => Some(self.open(now, chance)),
            (State::HalfOpen, Verdict::Answered) => {
                self.enter(State::Closed { failures: 0 });
                Some(Turn::Closed)
            }
            // The next one is the probe.
            (State::HalfOpen, Verdict::Unknown) => {
                self.enter(State::Open { until: now });
                None
            }
            (State::Closed { .. }, Verdict::Unknown) | (State::Open { .. }, _) => None,
        }
    }

    fn open(&mut self, now: Instant, chance: f64) -> Turn {
        let pause = self.settings.pause.mul_f64(1.0 + chance / 2.0);
        self.enter(State::Open { until: now + pause });
        Turn::Opened(pause)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        failures: NonZero::new(3).unwrap(),
        pause: Duration::from_secs(30),
    };

    fn failing(breaker: &mut Breaker, now: Instant, times: u32) -> Option<Turn> {
        let mut turn = None;
        for _ in 0..times {
            let pass = breaker.admit(now).expect("it is closed");
            turn = breaker.settle(pass, Verdict::Failed, now, 0.0);
        }
        turn
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_an_answer_between_starts_the_count_anew() {
        let (mut breaker, now) = (Breaker::new(SETTINGS), Instant::now());
        assert_eq!(failing(&mut breaker, now, 2), None);
        let pass = breaker.admit(now).unwrap();
        breaker.settle(pass, Verdict::Answered, now, 0.0);
        assert_eq!(failing(&mut breaker, now, 2), None);
        assert_eq!(
            failing(&mut breaker, now, 1),
            Some(Turn::Opened(SETTINGS.pause))
        );
        assert!(breaker.admit(now).is_none());
    }

    #[test]
    fn after_the_pause_one_probe_decides() {
        let (mut breaker, now) = (Breaker::new(SETTINGS), Instant::now());
        failing(&mut breaker, now, 3);
        let nearly = now + SETTINGS.pause - Duration::from_nanos(1);
        assert!(breaker.admit(nearly).is_none());

        let later = now + SETTINGS.pause;
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_none(), "one probe");
        let longest = SETTINGS.pause.mul_f64(1.5);
        let turn = breaker.settle(probe, Verdict::Failed, later, 1.0);
        assert_eq!(turn, Some(Turn::Opened(longest)));

        let probe = breaker.admit(later + longest).unwrap();
        let turn = breaker.settle(probe, Verdict::Answered, later + longest, 0.0);
        assert_eq!(turn, Some(Turn::Closed));
        assert!(breaker.admit(later + longest).is_some());
    }

    #[test]
    fn a_probe_whose_caller_leaves_makes_the_next_call_the_probe() {
        let (mut breaker, now) = (Breaker::new(SETTINGS), Instant::now());
        failing(&mut breaker, now, 3);
        let later = now + SETTINGS.pause;
        let probe = breaker.admit(later).unwrap();
        breaker.settle(probe, Verdict::Unknown, later, 0.0);
        assert!(breaker.admit(later).is_some());
    }

    #[test]
    fn a_call_from_before_it_opened_decides_nothing_afterwards() {
        let (mut breaker, now) = (Breaker::new(SETTINGS), Instant::now());
        let early = breaker.admit(now).unwrap();
        failing(&mut breaker, now, 3);
        assert_eq!(breaker.settle(early, Verdict::Answered, now, 0.0), None);
        assert!(breaker.admit(now).is_none());
    }

    /// What may happen to a breaker.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Call,
        /// The call that has been under way for the longest ends.
        End(Verdict),
        Wait(Duration),
    }

    fn step() -> impl Strategy<Value = Step> {
        let verdict = prop_oneof![
            2 => Just(Verdict::Failed),
            1 => Just(Verdict::Answered),
            1 => Just(Verdict::Unknown),
        ];
        prop_oneof![
            4 => Just(Step::Call),
            4 => verdict.prop_map(Step::End),
            1 => (0..60_u64).prop_map(|seconds| Step::Wait(Duration::from_secs(seconds))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_happens_it_opens_when_it_must_lets_one_probe_in_and_never_sticks(
            steps in prop::collection::vec(step(), 1..80),
            chance in 0.0..1.0,
        ) {
            let mut breaker = Breaker::new(SETTINGS);
            let mut now = Instant::now();
            let mut under_way = std::collections::VecDeque::new();
            let mut opened: Option<(Instant, Duration)> = None;
            let mut in_a_row = 0;
            for step in steps {
                match step {
                    Step::Wait(time) => now += time,
                    Step::Call => {
                        let pass = breaker.admit(now);
                        if let (Some(_), Some((since, pause))) = (pass, opened) {
                            prop_assert!(now >= since + pause, "let in too early");
                        }
                        if opened.is_none() {
                            prop_assert!(pass.is_some(), "refused while it is closed");
                        }
                        under_way.extend(pass);
                        let probes = under_way.iter().filter(|pass| pass.epoch == breaker.epoch);
                        prop_assert!(opened.is_none() || probes.count() <= 1, "two probes");
                    }
                    Step::End(verdict) => {
                        let Some(pass) = under_way.pop_front() else { continue };
                        let counts = pass.epoch == breaker.epoch;
                        let turn = breaker.settle(pass, verdict, now, chance);
                        if !counts {
                            prop_assert_eq!(turn, None);
                            continue;
                        }
                        in_a_row = match verdict {
                            Verdict::Failed => in_a_row + 1,
                            Verdict::Answered => 0,
                            Verdict::Unknown => in_a_row,
                        };
                        match turn {
                            Some(Turn::Opened(pause)) => {
                                prop_assert!(in_a_row >= 3 || opened.is_some(), "opened too soon");
                                prop_assert!(pause >= SETTINGS.pause && pause <= SETTINGS.pause.mul_f64(1.5));
                                opened = Some((now, pause));
                            }
                            Some(Turn::Closed) => {
                                prop_assert!(opened.take().is_some() && verdict == Verdict::Answered);
                            }
                            None => prop_assert!(opened.is_some() || in_a_row < 3, "not opened"),
                        }
                    }
                }
            }
            // When all have ended, a tier that answers is soon asked as before.
            for pass in under_way {
                breaker.settle(pass, Verdict::Unknown, now, chance);
            }
            now += SETTINGS.pause.mul_f64(1.5);
            let pass = breaker.admit(now);
            prop_assert!(pass.is_some(), "stuck");
            breaker.settle(pass.expect("just seen"), Verdict::Answered, now, chance);
            let is_closed = matches!(breaker.state, State::Closed { failures: 0 });
            prop_assert!(is_closed, "not closed");
        }
    }
}
