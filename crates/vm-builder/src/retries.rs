use std::time::Duration;

use cache_layer::{BuildErrorKind, backoff};

/// How often, and after what waits, an installation that failed for a passing reason is tried again.
///
/// Each wait is up to twice as long as the one before, see [`backoff`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first; 0 for none.
    pub most: u32,
    /// The most that is waited before the first of them.
    pub first_wait: Duration,
    /// The most that is waited before any.
    pub longest_wait: Duration,
    /// None begins when this much time has gone since the first try began.
    pub within: Duration,
}

impl Default for Retries {
    /// Three, after up to 2, 4 and 8 seconds, within ten minutes.
    fn default() -> Self {
        Self {
            most: 3,
            first_wait: Duration::from_secs(2),
            longest_wait: Duration::from_secs(30),
            within: Duration::from_mins(10),
        }
    }
}

impl Retries {
    /// How long to wait before the next try; `None` when there is to be none. `done` retries were made already,
    /// `elapsed` has gone since the first try began, and `chance` lies between 0 and 1.
    pub(crate) fn wait(
        &self,
        failed: BuildErrorKind,
        done: u32,
        elapsed: Duration,
        chance: f64,
    ) -> Option<Duration> {
        if failed != BuildErrorKind::Temporary || done >= self.most {
            return None;
        }
        let wait = backoff(self.first_wait, self.longest_wait, done, chance);
        (elapsed.saturating_add(wait) < self.within).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIES: Retries = Retries {
        most: 6,
        first_wait: Duration::from_secs(2),
        longest_wait: Duration::from_secs(20),
        within: Duration::from_secs(100),
    };

    #[test]
    fn waits_double_up_to_the_longest_as_long_as_there_are_retries() {
        let wait =
            |done, chance| RETRIES.wait(BuildErrorKind::Temporary, done, Duration::ZERO, chance);
        for (done, chance, seconds) in [
            (0, 0.0, Some(1.0)),
            (0, 1.0, Some(2.0)),
            (5, 1.0, Some(20.0)),
            (6, 0.0, None),
            (u32::MAX, 0.0, None),
        ] {
            let expected = seconds.map(Duration::from_secs_f64);
            assert_eq!(wait(done, chance), expected, "after {done} retries");
        }
    }

    #[test]
    fn what_will_not_pass_and_what_comes_too_late_is_not_tried_again() {
        let second = Duration::from_secs(1);
        for kind in [
            BuildErrorKind::Packages,
            BuildErrorKind::Host,
            BuildErrorKind::Internal,
        ] {
            assert_eq!(RETRIES.wait(kind, 0, second, 0.5), None, "{kind:?}");
        }
        let temporary = BuildErrorKind::Temporary;
        assert!(RETRIES.wait(temporary, 0, 97 * second, 1.0).is_some());
        assert_eq!(RETRIES.wait(temporary, 0, 98 * second, 1.0), None);
        let never = Retries { most: 0, ..RETRIES };
        assert_eq!(never.wait(temporary, 0, second, 0.5), None);
    }

    #[test]
    fn no_number_of_retries_overflows() {
        let for_ever = Retries {
            most: u32::MAX,
            first_wait: Duration::MAX / 2,
            longest_wait: Duration::MAX,
            within: Duration::MAX,
        };
        let wait = for_ever.wait(BuildErrorKind::Temporary, 40, Duration::from_secs(1), 0.5);
        assert!(wait.is_some());
    }
}
