//! How long calls took, in buckets that double.
//!
//! Buckets of our own rather than a histogram crate's: thirty-three atomic counters are recorded to without a lock on
//! the way of a hit of some microseconds, and are what is written out.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counters::Counter;

/// How long calls took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latency {
    /// How many calls were measured: those that came to an end, however that was. Calls that were skipped or
    /// cancelled took no time of their own.
    pub calls: u64,
    /// What they took together, in microseconds.
    pub total_us: u64,
    /// The buckets with a call in them, the shortest first.
    pub buckets: Vec<Bucket>,
}

/// Calls that took more than the bucket before this one says, and not more than this one says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bucket {
    /// In microseconds, a power of two from 1 to 2³¹ (36 minutes); `None` for whatever took longer.
    pub at_most_us: Option<u64>,
    /// How many calls.
    pub calls: u64,
}

impl Latency {
    /// What at least the share `share` (between 0 and 1) of the calls kept to: the limit of the bucket in which that
    /// share is reached, which is at most twice the truth. `None` without calls, or when they took over 36 minutes.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = self.calls as f64 * share;
        let mut seen = 0;
        for bucket in &self.buckets {
            seen += bucket.calls;
            if seen as f64 >= wanted {
                return bucket.at_most_us.map(Duration::from_micros);
            }
        }
        None
    }
}

/// The calls of both, as if one had measured them all: what several processes or hosts measured adds up. Counts stop at
/// their greatest value.
impl AddAssign<&Self> for Latency {
    fn add_assign(&mut self, other: &Self) {
        let mut buckets = BTreeMap::<_, u64>::new();
        for bucket in self.buckets.iter().chain(&other.buckets) {
            // The one without a limit is the last.
            let at = (bucket.at_most_us.is_none(), bucket.at_most_us);
            let calls = buckets.entry(at).or_default();
            *calls = calls.saturating_add(bucket.calls);
        }
        let buckets = buckets.into_iter();
        self.buckets = buckets
            .map(|((_, at_most_us), calls)| Bucket { at_most_us, calls })
            .collect();
        self.calls = self.calls.saturating_add(other.calls);
        self.total_us = self.total_us.saturating_add(other.total_us);
    }
}

/// Buckets of 1 µs, 2 µs, … 2³¹ µs, and one for the rest.
const LIMITED: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Histogram {
    limited: [Counter; LIMITED],
    rest: Counter,
    total_us: Counter,
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = match us {
            0 | 1 => 0,
            _ => (us - 1).ilog2() as usize + 1,
        };
        self.limited.get(bucket).unwrap_or(&self.rest).add(1);
        self.total_us.add(us);
    }

    pub(crate) fn read(&self) -> Latency {
        let limited = self.limited.iter().enumerate();
        let limited = limited.map(|(power, calls)| (Some(1 << power), calls));
        let buckets: Vec<_> = limited
            .chain([(None, &self.rest)])
            .map(|(at_most_us, calls)| Bucket {
                at_most_us,
                calls: calls.read(),
            })
            .filter(|bucket| bucket.calls > 0)
            .collect();
        Latency {
            calls: buckets.iter().map(|bucket| bucket.calls).sum(),
            total_us: self.total_us.read(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: &[u64]) -> Latency {
        let histogram = Histogram::default();
        for us in times {
            histogram.record(Duration::from_micros(*us));
        }
        histogram.read()
    }

    #[test]
    fn a_time_goes_into_the_first_bucket_whose_limit_it_keeps() {
        let longest = 1 << 31;
        for (us, at_most_us) in [
            (0, Some(1)),
            (1, Some(1)),
            (2, Some(2)),
            (3, Some(4)),
            (4, Some(4)),
            (5, Some(8)),
            (longest, Some(longest)),
            (longest + 1, None),
            (u64::MAX, None),
        ] {
            let bucket = Bucket {
                at_most_us,
                calls: 1,
            };
            assert_eq!(of(&[us]).buckets, [bucket], "{us} µs");
        }
    }

    #[test]
    fn a_quantile_is_the_limit_of_the_bucket_that_reaches_it() {
        let latency = of(&[3, 3, 3, 100]);
        assert_eq!((latency.calls, latency.total_us), (4, 109));
        assert_eq!(latency.quantile(0.5), Some(Duration::from_micros(4)));
        assert_eq!(latency.quantile(0.99), Some(Duration::from_micros(128)));
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(of(&[u64::MAX]).quantile(0.5), None);
    }

    #[test]
    fn what_two_have_measured_adds_up_to_what_one_would_have_measured() {
        let (one, other) = ([3, 3, 100, 1 << 40], [1, 4, 5000, 1 << 40]);
        let mut sum = of(&one);
        sum += &of(&other);
        assert_eq!(sum, of(&[one, other].concat()));
        sum += &Latency::default();
        assert_eq!(sum, of(&[one, other].concat()));
        let json = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Latency>(&json).unwrap(), sum);
    }
}
