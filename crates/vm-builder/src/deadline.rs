use std::time::Duration;

use tokio::time::Instant;

/// When something has to be over, whatever it consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    pub(crate) limit: Duration,
}

impl Deadline {
    /// `limit` from now; never, in practice, if that is later than a clock can say.
    pub(crate) fn after(limit: Duration) -> Self {
        const AGES: Duration = Duration::from_hours(24 * 365 * 30);
        let now = Instant::now();
        Self {
            at: now.checked_add(limit).unwrap_or(now + AGES),
            limit,
        }
    }

    /// How much time is left.
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Waits for it.
    pub(crate) async fn passed(self) {
        tokio::time::sleep_until(self.at).await;
    }
}
