//! What a request leaves in the log. A process of its own: who logs in one test is asked whether it listens in all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "hierarchy/common.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "hierarchy/journal.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod journal;
#[path = "hierarchy/shelf.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod shelf;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hierarchy::Hierarchy;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::common::{spec, staging};
use crate::journal::Journal;
use crate::shelf::{Workshop, tiers_of_which_the_remote_one_is_down};

/// What was written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_request_is_a_span_and_each_layer_that_is_asked_one_in_it() {
    let (_root, staging) = staging();
    let journal = Journal::default();
    let tiers = tiers_of_which_the_remote_one_is_down(&journal);
    let cache = Hierarchy::new(tiers, Arc::new(Workshop::new(&journal)), staging);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    {
        let _logged = tracing::subscriber::set_default(subscriber);
        cache.get(&spec(["a==1"])).await.unwrap();
        cache.shutdown(Duration::MAX).await;
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let key = spec(["a==1"]).key();
    for closed in [
        format!("get{{key={key}}}:look{{key={key} layer=\"first\" outcome=\"miss\"}}: "),
        format!("get{{key={key}}}:look{{key={key} layer=\"second\" outcome=\"unavailable\"}}: "),
        format!("get{{key={key}}}:build{{key={key} outcome=\"built\"}}: "),
        format!("get{{key={key}}}:store{{key={key} layer=\"first\" outcome=\"stored\"}}: "),
        format!("store{{key={key} layer=\"second\" outcome=\"stored\"}}: "),
        format!("get{{key={key} outcome=\"built\"}}: "),
    ] {
        let is_it = |line: &str| line.contains(&closed) && line.contains(" close ");
        assert!(log.lines().any(is_it), "no {closed} in\n{log}");
    }
    assert!(log.contains("a layer is stepped over"), "{log}");
}
