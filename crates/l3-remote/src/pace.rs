use std::time::Duration;

/// Whether one stream brings bytes as fast as they can be used.
///
/// It counts only the time for which it is waited: a reader that is busy with what it has is not held up.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    behind: Duration,
}

/// A stream that brings fewer bytes than this a second, while it is waited for, is helped out by others: it is what
/// two processors unpack, and more than one connection to a store elsewhere brings.
const BYTES_PER_SECOND: u64 = 300_000_000;
/// How far behind that a stream may fall: longer than a busy host takes to give somebody a turn, and little against
/// a transfer for which it matters.
const PATIENCE: Duration = Duration::from_millis(20);

impl Pace {
    /// These bytes have come, after so long a wait.
    pub(crate) fn came(&mut self, bytes: usize, waited: Duration) {
        let allowed = Duration::from_nanos(bytes as u64 * 1_000_000_000 / BYTES_PER_SECOND);
        self.behind = (self.behind + waited).saturating_sub(allowed);
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.behind > PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(pieces: usize, bytes: usize, waited: Duration) -> Pace {
        let mut pace = Pace::default();
        for _ in 0..pieces {
            pace.came(bytes, waited);
        }
        pace
    }

    #[test]
    fn a_stream_is_slow_when_it_keeps_its_reader_waiting() {
        let ms = Duration::from_millis;
        // 64 MB/s, and 640.
        assert!(pace(100, 64_000, ms(1)).is_slow());
        assert!(!pace(100, 640_000, ms(1)).is_slow());
        // Nobody waited for it.
        assert!(!pace(100, 1, ms(0)).is_slow());
    }

    #[test]
    fn a_stream_that_falters_later_is_noticed_as_soon_as_one_that_never_ran() {
        let mut pace = pace(1000, 64_000, Duration::ZERO);
        pace.came(1, Duration::from_millis(21));
        assert!(pace.is_slow());
    }

    #[test]
    fn a_short_wait_is_made_good_by_what_comes_after_it() {
        let mut pace = pace(1, 64_000, Duration::from_millis(15));
        pace.came(5_000_000, Duration::ZERO);
        pace.came(64_000, Duration::from_millis(15));
        assert!(!pace.is_slow());
    }
}
