//! What caches do, for Prometheus to scrape. Behind the feature `prometheus`.

use std::net::SocketAddr;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use thiserror::Error;

/// Why there is nothing to scrape.
#[derive(Debug, Error)]
#[error("serve metrics at {address}")]
pub struct PrometheusError {
    address: SocketAddr,
    source: BuildError,
}

/// Hits take microseconds, builds minutes.
const SECONDS: [f64; 12] = [
    50e-6, 100e-6, 500e-6, 0.005, 0.05, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0,
];

/// Answers each `GET` at `address` with the metrics of every cache of this process, as text, until the process ends.
///
/// They are counted from then on: call it before a cache is opened. It needs a tokio runtime.
///
/// | metric | labels | what |
/// | --- | --- | --- |
/// | `snaptier_calls_total` | `call`: `get`, `put`, `build`; `layer`; `outcome`: `hit`, `miss`, `stored`, `built`, `skipped`, `cancelled`, an error's kind | how many |
/// | `snaptier_call_seconds` | `call`, `layer` | a histogram of how long those took that came to an end |
/// | `snaptier_bytes_total` | `call`, `layer` | bytes of the snapshots served, stored and built, as files of this host |
///
/// # Errors
///
/// The address cannot be listened at, or the process has a recorder of metrics already: then turn on `hierarchy`'s
/// feature `metrics`, and that one is told.
pub fn serve(address: SocketAddr) -> Result<(), PrometheusError> {
    let failed = |source| PrometheusError { address, source };
    let histogram = Matcher::Full("snaptier_call_seconds".to_owned());
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(histogram, &SECONDS)
        .and_then(PrometheusBuilder::install)
        .map_err(failed)?;
    hierarchy::describe_metrics();
    Ok(())
}
