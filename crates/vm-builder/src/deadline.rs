use std::time::Duration;

use tokio::time::Instant;

/// When something has to be over, whatever it consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    pub(crate) limit: Duration,
}

impl Deadline {
    /// `limit` from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self {
            at: Instant::now() + limit,
            limit,
        }
    }

    /// Waits for it.
    pub(crate) async fn passed(self) {
        tokio::time::sleep_until(self.at).await;
    }
}
