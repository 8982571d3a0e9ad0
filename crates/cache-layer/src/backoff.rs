use std::time::Duration;

/// How long to wait before something that failed for a passing reason is tried again: `first`, twice as long for each
/// retry that was `done` before, `longest` at most. Its length is left to `chance` between half of that (0.0) and
/// all of it (1.0), so that hosts which failed together do not ask again together.
#[must_use]
pub fn backoff(first: Duration, longest: Duration, done: u32, chance: f64) -> Duration {
    let doubled = 2_u32.checked_pow(done).unwrap_or(u32::MAX);
    let half = first.saturating_mul(doubled).min(longest) / 2;
    half.saturating_add(half.mul_f64(chance.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_keep_between_half_and_all() {
        let wait = |done, chance| {
            backoff(
                Duration::from_secs(2),
                Duration::from_secs(20),
                done,
                chance,
            )
        };
        for (done, chance, seconds) in [
            (0, 0.0, 1.0),
            (0, 1.0, 2.0),
            (1, 0.5, 3.0),
            (2, 1.0, 8.0),
            (3, 1.0, 16.0),
            (4, 0.0, 10.0),
            (5, 1.0, 20.0),
            (u32::MAX, 0.5, 15.0),
            (0, -3.0, 1.0),
            (0, 7.0, 2.0),
        ] {
            let expected = Duration::from_secs_f64(seconds);
            assert_eq!(wait(done, chance), expected, "after {done} retries");
        }
    }

    #[test]
    fn no_number_of_retries_overflows() {
        let wait = backoff(Duration::MAX / 2, Duration::MAX, 40, 1.0);
        assert!(wait >= Duration::MAX / 2, "{wait:?}");
    }
}
