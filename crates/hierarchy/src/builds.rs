use std::sync::Arc;

use cache_key::SnapshotSpec;
use cache_layer::{BuildError, Snapshot, SnapshotBuilder, Staging};
use tracing::Instrument;
use tracing::field::Empty;

use crate::counters::BuildCounters;

/// The builder at work: its builds are counted.
#[derive(Debug)]
pub(crate) struct Builds {
    pub(crate) builder: Arc<dyn SnapshotBuilder>,
    pub(crate) counters: BuildCounters,
}

impl Builds {
    pub(crate) fn new(builder: Arc<dyn SnapshotBuilder>) -> Self {
        Self {
            builder,
            counters: BuildCounters::new(),
        }
    }

    pub(crate) async fn build(
        &self,
        spec: &SnapshotSpec,
        staging: &Staging,
    ) -> Result<Snapshot, BuildError> {
        let span = tracing::debug_span!("build", key = %spec.key(), outcome = Empty);
        let call = self.counters.calls.begin();
        let built = self.builder.build(spec, staging);
        let built = built.instrument(span.clone()).await;
        let outcome = match &built {
            Ok(snapshot) => {
                self.counters.built.add(1);
                call.end("built", snapshot.manifest().disk().file_bytes);
                "built"
            }
            Err(error) => {
                let kind = self.counters.failed(error.kind());
                call.end(kind, 0);
                kind
            }
        };
        span.record("outcome", outcome);
        built
    }
}
