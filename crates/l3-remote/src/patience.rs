use std::time::Duration;

use opendal::layers::{RetryEvent, RetryLayer, TimeoutLayer};
use opendal::{HttpTransporter, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;

/// How long a store is waited for, and how often it is asked again.
///
/// Nothing limits how long a whole transfer takes: one that moves is let go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// The longest that a call that moves no data may take; 30 seconds.
    pub call: Duration,
    /// A download that brings no byte for this long is cut off, and taken up again where it was; 20 seconds. So is
    /// an upload of which the store's host takes no byte for this long, on Linux, and its part sent again.
    pub idle: Duration,
    /// The longest that one part of an upload, of 8 MiB, may take on the way and in the store; 5 minutes. Four are
    /// under way at once.
    pub part: Duration,
    /// How often what fails with a chance to succeed is tried again, each time for a call, a part or a
    /// stretch of a download; 4. 0 is never.
    pub retries: usize,
    /// How long it is waited before the first time; 0.5 seconds. Each further wait is twice as long, and all
    /// have some chance added so that hosts do not ask again in step.
    pub first_wait: Duration,
    /// The longest such wait; 20 seconds.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(30),
            idle: Duration::from_secs(20),
            part: Duration::from_mins(5),
            retries: 4,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(20),
        }
    }
}

impl Patience {
    /// The same store over connections that are given up when nobody at their other end takes what is sent: the only
    /// sign of life that an upload gives before its part has been written.
    pub(crate) fn connected(&self, store: &Operator) -> reqwest::Result<Operator> {
        let client = reqwest::Client::builder();
        #[cfg(target_os = "linux")]
        let client = client.tcp_user_timeout(self.idle);
        let transport = HttpTransporter::new(ReqwestTransport::new(client.build()?));
        let context = store.context().with_http_transport(transport);
        Ok(store.clone().with_context(context))
    }

    /// A store that is read from with this patience.
    pub(crate) fn reading(&self, store: Operator) -> Operator {
        self.layered(store, self.idle)
    }

    /// A store that is written to with this patience.
    pub(crate) fn writing(&self, store: Operator) -> Operator {
        self.layered(store, self.part)
    }

    /// Time-outs below and retries above: each try has its own time.
    fn layered(&self, store: Operator, step: Duration) -> Operator {
        let time_outs = TimeoutLayer::new()
            .with_timeout(self.call)
            .with_io_timeout(step);
        let retries = RetryLayer::new()
            .with_max_times(self.retries)
            .with_min_delay(self.first_wait)
            .with_max_delay(self.longest_wait)
            .with_jitter()
            .with_notify(|event: RetryEvent<'_>| {
                tracing::debug!(operation = %event.op, attempt = event.attempt, error = %event.err, "asking a store again");
            });
        store.layer(time_outs).layer(retries)
    }
}
