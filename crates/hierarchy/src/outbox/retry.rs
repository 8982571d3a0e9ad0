//! What becomes of an upload that failed: decided of what is known, with time and chance from outside.

use cache_layer::{LayerErrorKind, backoff};
use jiff::{SignedDuration, Timestamp};

use super::limits::OutboxLimits;

/// What is known of an upload that just failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    pub(super) kind: LayerErrorKind,
    /// This one included.
    pub(super) attempts: u32,
    pub(super) added_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Again {
        at: Timestamp,
    },
    /// The same upload can never succeed.
    Hopeless,
    /// It failed too often, or for too long.
    GiveUp,
}

/// Decides at `now`, with `chance` from 0 to 1.
pub(super) fn decide(
    limits: &OutboxLimits,
    failed: Failed,
    now: Timestamp,
    chance: f64,
) -> Verdict {
    let first = match failed.kind {
        LayerErrorKind::Invalid | LayerErrorKind::Corrupt => return Verdict::Hopeless,
        LayerErrorKind::Unavailable { temporary: true } => limits.first_wait,
        _ => limits.first_wait_for_somebody,
    };
    let age = now.duration_since(failed.added_at);
    let is_old = SignedDuration::try_from(limits.max_age).is_ok_and(|most| age > most);
    if failed.attempts >= limits.max_attempts.get() || is_old {
        return Verdict::GiveUp;
    }
    let wait = backoff(first, limits.longest_wait, failed.attempts - 1, chance);
    Verdict::Again {
        at: now.checked_add(wait).unwrap_or(Timestamp::MAX),
    }
}

/// Whether an upload that is to be tried at `next_try` is to be tried `now`. One that would have to wait longer than
/// anything does was written down when a clock was wrong.
pub(super) fn is_due(limits: &OutboxLimits, next_try: Timestamp, now: Timestamp) -> bool {
    let latest = now
        .checked_add(limits.longest_wait)
        .unwrap_or(Timestamp::MAX);
    next_try <= now || next_try > latest
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const TEMPORARY: LayerErrorKind = LayerErrorKind::Unavailable { temporary: true };

    fn failed(kind: LayerErrorKind, attempts: u32) -> Failed {
        Failed {
            kind,
            attempts,
            added_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn wait(kind: LayerErrorKind, attempts: u32, chance: f64) -> Duration {
        let limits = OutboxLimits::default();
        let now = Timestamp::UNIX_EPOCH;
        match decide(&limits, failed(kind, attempts), now, chance) {
            Verdict::Again { at } => at.duration_since(now).unsigned_abs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let seconds = |attempts| wait(TEMPORARY, attempts, 1.0).as_secs();
        assert_eq!([1, 2, 3, 4].map(seconds), [5, 10, 20, 40]);
        assert_eq!([14, 39].map(seconds), [6 * 3600, 6 * 3600]);
        assert_eq!(
            wait(TEMPORARY, 1, 0.0),
            Duration::from_millis(2500),
            "chance can halve it"
        );
    }

    #[test]
    fn what_somebody_has_to_mend_is_tried_rarely_and_what_cannot_succeed_never() {
        for kind in [
            LayerErrorKind::Denied,
            LayerErrorKind::OutOfSpace,
            LayerErrorKind::Unavailable { temporary: false },
        ] {
            assert_eq!(wait(kind, 1, 1.0), Duration::from_mins(15), "{kind:?}");
        }
        for kind in [LayerErrorKind::Invalid, LayerErrorKind::Corrupt] {
            let limits = OutboxLimits::default();
            let verdict = decide(&limits, failed(kind, 1), Timestamp::UNIX_EPOCH, 0.5);
            assert_eq!(verdict, Verdict::Hopeless, "{kind:?}");
        }
    }

    #[test]
    fn an_upload_is_given_up_after_too_many_tries_or_too_long_a_time() {
        let limits = OutboxLimits {
            max_attempts: NonZero::new(3).unwrap(),
            ..OutboxLimits::default()
        };
        let at = |attempts, seconds| {
            let now = Timestamp::from_second(seconds).unwrap();
            decide(&limits, failed(TEMPORARY, attempts), now, 0.5)
        };
        let week = 7 * 24 * 3600;
        assert!(matches!(at(2, week), Verdict::Again { .. }));
        assert_eq!(at(2, week + 1), Verdict::GiveUp);
        assert_eq!(at(3, 0), Verdict::GiveUp);
    }

    #[test]
    fn a_time_beyond_the_longest_wait_is_of_a_clock_that_was_wrong() {
        let limits = OutboxLimits::default();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let due = |next, now| is_due(&limits, at(next), at(now));
        assert!(due(100, 100));
        assert!(!due(101, 100));
        assert!(!due(100 + 6 * 3600, 100));
        assert!(due(101 + 6 * 3600, 100));
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_half_and_no_longer_than_the_longest(
            attempts in 1..40_u32,
            chance in 0.0..1.0_f64,
            is_temporary: bool,
        ) {
            let kind = LayerErrorKind::Unavailable { temporary: is_temporary };
            let (full, drawn) = (wait(kind, attempts, 1.0), wait(kind, attempts, chance));
            prop_assert!(drawn <= full && drawn >= full / 2);
            prop_assert!(full <= OutboxLimits::default().longest_wait);
            prop_assert!(attempts == 1 || full >= wait(kind, attempts - 1, 1.0));
        }
    }
}
