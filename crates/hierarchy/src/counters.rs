//! What is counted while it happens, of which [`Stats`](crate::Stats) is a reading.

use std::sync::atomic::{AtomicU64, Ordering};

use cache_layer::{BuildErrorKind, LayerErrorKind};
use tokio::time::Instant;

use crate::emitted;
use crate::latency::Histogram;
use crate::{BuildErrors, BuilderStats, Errors, LayerStats};

#[derive(Debug)]
pub(crate) struct LayerCounters {
    name: &'static str,
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) gets: CallCounters,
    pub(crate) get_errors: ErrorCounters,
    pub(crate) stored: Counter,
    pub(crate) puts: CallCounters,
    pub(crate) put_errors: ErrorCounters,
}

impl LayerCounters {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            hits: Counter::default(),
            misses: Counter::default(),
            gets: CallCounters::new("get", name),
            get_errors: ErrorCounters::default(),
            stored: Counter::default(),
            puts: CallCounters::new("put", name),
            put_errors: ErrorCounters::default(),
        }
    }

    pub(crate) fn read(&self) -> LayerStats {
        LayerStats {
            name: self.name,
            hits: self.hits.read(),
            misses: self.misses.read(),
            skipped: self.gets.skipped.read(),
            cancelled: self.gets.cancelled.read(),
            get_errors: self.get_errors.read(&self.gets),
            bytes_served: self.gets.bytes.read(),
            get_latency: self.gets.latency.read(),
            puts: self.stored.read(),
            puts_skipped: self.puts.skipped.read(),
            puts_cancelled: self.puts.cancelled.read(),
            put_errors: self.put_errors.read(&self.puts),
            bytes_stored: self.puts.bytes.read(),
            put_latency: self.puts.latency.read(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct BuildCounters {
    pub(crate) built: Counter,
    pub(crate) hedged: Counter,
    pub(crate) calls: CallCounters,
    packages: Counter,
    temporary: Counter,
    host: Counter,
    internal: Counter,
    other: Counter,
}

impl BuildCounters {
    pub(crate) fn new() -> Self {
        Self {
            built: Counter::default(),
            hedged: Counter::default(),
            calls: CallCounters::new("build", "builder"),
            packages: Counter::default(),
            temporary: Counter::default(),
            host: Counter::default(),
            internal: Counter::default(),
            other: Counter::default(),
        }
    }

    /// Counts a build that failed, and gives its kind's name.
    pub(crate) fn failed(&self, kind: BuildErrorKind) -> &'static str {
        let (counter, name) = match kind {
            BuildErrorKind::Packages => (&self.packages, "packages"),
            BuildErrorKind::Temporary => (&self.temporary, "temporary"),
            BuildErrorKind::Host => (&self.host, "host"),
            BuildErrorKind::Internal => (&self.internal, "internal"),
            _ => (&self.other, "other"),
        };
        counter.add(1);
        name
    }

    pub(crate) fn read(&self) -> BuilderStats {
        BuilderStats {
            built: self.built.read(),
            cancelled: self.calls.cancelled.read(),
            hedged: self.hedged.read(),
            errors: BuildErrors {
                packages: self.packages.read(),
                temporary: self.temporary.read(),
                host: self.host.read(),
                internal: self.internal.read() + self.calls.panicked.read(),
                other: self.other.read(),
            },
            bytes_built: self.calls.bytes.read(),
            latency: self.calls.latency.read(),
        }
    }
}

/// What became of calls of one kind, apart from what they were answered.
#[derive(Debug)]
pub(crate) struct CallCounters {
    call: &'static str,
    layer: &'static str,
    skipped: Counter,
    cancelled: Counter,
    panicked: Counter,
    bytes: Counter,
    latency: Histogram,
}

/// A call that is under way. Dropped before its end, it was cancelled, or panicked.
#[derive(Debug)]
#[must_use = "the call is over as soon as this is dropped"]
pub(crate) struct Call<'a> {
    counters: &'a CallCounters,
    began: Instant,
    has_ended: bool,
}

impl CallCounters {
    fn new(call: &'static str, layer: &'static str) -> Self {
        Self {
            call,
            layer,
            skipped: Counter::default(),
            cancelled: Counter::default(),
            panicked: Counter::default(),
            bytes: Counter::default(),
            latency: Histogram::default(),
        }
    }

    pub(crate) fn skip(&self) {
        self.skipped.add(1);
        emitted::call(self.call, self.layer, "skipped");
    }

    pub(crate) fn begin(&self) -> Call<'_> {
        Call {
            counters: self,
            began: Instant::now(),
            has_ended: false,
        }
    }
}

impl Call<'_> {
    /// It came to an end, and moved a snapshot of so many bytes.
    pub(crate) fn end(mut self, outcome: &'static str, bytes: u64) {
        self.has_ended = true;
        let (counters, took) = (self.counters, self.began.elapsed());
        counters.bytes.add(bytes);
        counters.latency.record(took);
        emitted::call(counters.call, counters.layer, outcome);
        emitted::ended(counters.call, counters.layer, took, bytes);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let (counter, outcome) = if std::thread::panicking() {
            (&self.counters.panicked, "panicked")
        } else {
            (&self.counters.cancelled, "cancelled")
        };
        counter.add(1);
        emitted::call(self.counters.call, self.counters.layer, outcome);
    }
}

#[derive(Debug, Default)]
pub(crate) struct ErrorCounters {
    unavailable: Counter,
    deadline: Counter,
    denied: Counter,
    corrupt: Counter,
    out_of_space: Counter,
    invalid: Counter,
    other: Counter,
}

impl ErrorCounters {
    pub(crate) fn add(&self, kind: LayerErrorKind) {
        match kind {
            LayerErrorKind::Unavailable { .. } => &self.unavailable,
            LayerErrorKind::Denied => &self.denied,
            LayerErrorKind::Corrupt => &self.corrupt,
            LayerErrorKind::OutOfSpace => &self.out_of_space,
            LayerErrorKind::Invalid => &self.invalid,
            _ => &self.other,
        }
        .add(1);
    }

    pub(crate) fn add_deadline(&self) {
        self.deadline.add(1);
    }

    fn read(&self, calls: &CallCounters) -> Errors {
        Errors {
            unavailable: self.unavailable.read(),
            deadline: self.deadline.read(),
            denied: self.denied.read(),
            corrupt: self.corrupt.read(),
            out_of_space: self.out_of_space.read(),
            invalid: self.invalid.read(),
            other: self.other.read() + calls.panicked.read(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
