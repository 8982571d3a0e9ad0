//! What is told to the recorder of the `metrics` facade: nothing, unless the feature `metrics` is on.
//!
//! | metric | labels | what |
//! | --- | --- | --- |
//! | `snaptier_calls_total` | `call`, `layer`, `outcome` | gets, puts and builds, skipped ones included |
//! | `snaptier_call_seconds` | `call`, `layer` | a histogram of how long those took that came to an end |
//! | `snaptier_bytes_total` | `call`, `layer` | bytes of the snapshots served, stored and built |

use std::time::Duration;

/// Tells the recorder what each metric is. To be called once, after the recorder was installed.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_histogram};

    describe_counter!(
        "snaptier_calls_total",
        "Gets, puts and builds, by what came of them"
    );
    describe_histogram!(
        "snaptier_call_seconds",
        Unit::Seconds,
        "How long gets, puts and builds took that came to an end"
    );
    describe_counter!(
        "snaptier_bytes_total",
        Unit::Bytes,
        "Bytes of the snapshots served, stored and built"
    );
}

#[cfg(feature = "metrics")]
pub(crate) fn call(call: &'static str, layer: &'static str, outcome: &'static str) {
    metrics::counter!("snaptier_calls_total", "call" => call, "layer" => layer, "outcome" => outcome)
        .increment(1);
}

#[cfg(feature = "metrics")]
pub(crate) fn ended(call: &'static str, layer: &'static str, took: Duration, bytes: u64) {
    metrics::histogram!("snaptier_call_seconds", "call" => call, "layer" => layer).record(took);
    if bytes > 0 {
        metrics::counter!("snaptier_bytes_total", "call" => call, "layer" => layer)
            .increment(bytes);
    }
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn call(_: &'static str, _: &'static str, _: &'static str) {}

#[cfg(not(feature = "metrics"))]
pub(crate) fn ended(_: &'static str, _: &'static str, _: Duration, _: u64) {}
