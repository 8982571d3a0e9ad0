use std::num::NonZero;
use std::time::Duration;

/// How much an outbox holds, and how long it keeps trying.
///
/// The waits are those between one try and the next of one upload. Each is up to half as short as is said here, by
/// chance, so that hosts do not try again in step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxLimits {
    /// The most uploads that wait; 1,000. One more, and the oldest is dropped: its snapshot is the likeliest to be
    /// evicted, or on its way from another host.
    pub max_entries: NonZero<usize>,
    /// The upload is dropped when it failed this often; 40.
    pub max_attempts: NonZero<u32>,
    /// The upload is dropped when it fails and is older than this; 7 days. One that nobody tried is not.
    pub max_age: Duration,
    /// The first wait, where the error is one that passes by itself; 5 seconds. Each further one is twice as long.
    pub first_wait: Duration,
    /// The first wait where somebody has to act: access refused, no such bucket, no room; 15 minutes.
    pub first_wait_for_somebody: Duration,
    /// The longest wait; 6 hours.
    pub longest_wait: Duration,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            max_entries: NonZero::new(1000).unwrap_or(NonZero::<usize>::MIN),
            max_attempts: NonZero::new(40).unwrap_or(NonZero::<u32>::MIN),
            max_age: Duration::from_hours(7 * 24),
            first_wait: Duration::from_secs(5),
            first_wait_for_somebody: Duration::from_mins(15),
            longest_wait: Duration::from_hours(6),
        }
    }
}
