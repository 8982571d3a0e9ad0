use std::sync::Mutex;
use std::time::{Duration, Instant};

use cache_layer::{Phase, ProgressEvent, ProgressSink, Subject};
use serde_json::{Value, json};

/// When the phases of a build ended.
#[derive(Debug, Default)]
pub(crate) struct Phases(Mutex<Vec<(Phase, Instant)>>);

impl Phases {
    /// The times of the build that began then and took `total`, and forgets them.
    pub(crate) fn take(&self, began: Instant, total: Duration) -> Value {
        let ends = std::mem::take(&mut *self.0.lock().unwrap());
        let end = |phase| {
            let found = ends.iter().find(|(ended, _)| *ended == phase);
            found.unwrap_or_else(|| panic!("no {phase} in {ends:?}")).1
        };
        let (booted, installed) = (end(Phase::Boot), end(Phase::Install));
        let off = end(Phase::ShutDown);
        let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
        json!({
            "boot_s": seconds(began, booted),
            "install_s": seconds(booted, installed),
            "power_off_s": seconds(installed, off),
            "check_s": seconds(off, began + total),
            "total_s": total.as_secs_f64(),
        })
    }
}

impl ProgressSink for Phases {
    fn report(&self, _subject: Subject<'_>, event: ProgressEvent<'_>) {
        if let ProgressEvent::Finished(phase) = event {
            self.0.lock().unwrap().push((phase, Instant::now()));
        }
    }
}
