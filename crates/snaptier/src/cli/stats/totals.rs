//! Counters that add up.

use std::collections::BTreeMap;

use hierarchy::{Latency, OutboxStats, Stats};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The format that this release writes. A counter that is new needs no new one: what this release does not know is
/// added and kept all the same.
pub(super) const FORMAT_VERSION: u32 = 1;

/// What was done since `since`. As JSON, tiers and builder are as `hierarchy`'s `Stats` has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) format_version: u32,
    pub(super) since: Timestamp,
    /// Each tier once, in the order in which they were first met.
    pub(super) layers: Vec<LayerTotals>,
    pub(super) builder: BuilderTotals,
    pub(super) outbox: Counts,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerTotals {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) get_errors: Counts,
    pub(super) get_latency: Latency,
    pub(super) put_errors: Counts,
    pub(super) put_latency: Latency,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BuilderTotals {
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) errors: Counts,
    pub(super) latency: Latency,
}

/// Counters by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Totals {
    /// What one process did.
    pub(super) fn of(
        stats: &Stats,
        outbox: OutboxStats,
        since: Timestamp,
    ) -> serde_json::Result<Self> {
        serde_json::from_value(json!({
            "format_version": FORMAT_VERSION,
            "since": since,
            "layers": stats.layers,
            "builder": stats.builder,
            "outbox": outbox,
        }))
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.since = self.since.min(other.since);
        for layer in &other.layers {
            match self
                .layers
                .iter_mut()
                .find(|known| known.name == layer.name)
            {
                Some(known) => known.add(layer),
                None => self.layers.push(layer.clone()),
            }
        }
        self.builder.add(&other.builder);
        self.outbox.add(&other.outbox);
    }

    /// Whether nothing was done.
    pub(super) fn is_nothing(&self) -> bool {
        let of_layers = self.layers.iter().flat_map(LayerTotals::all);
        let of_builder = [&self.builder.counts, &self.builder.errors, &self.outbox];
        of_layers
            .chain(of_builder)
            .all(|counts| counts.total() == 0)
    }
}

impl LayerTotals {
    fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.get_errors.add(&other.get_errors);
        self.get_latency += &other.get_latency;
        self.put_errors.add(&other.put_errors);
        self.put_latency += &other.put_latency;
    }

    fn all(&self) -> [&Counts; 3] {
        [&self.counts, &self.get_errors, &self.put_errors]
    }
}

impl BuilderTotals {
    fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.errors.add(&other.errors);
        self.latency += &other.latency;
    }
}

impl Counts {
    /// The counter of this name; 0 if there is none.
    pub(super) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Those that are not 0.
    pub(super) fn met(&self) -> impl Iterator<Item = (&str, u64)> {
        let counts = self.0.iter().map(|(name, count)| (name.as_str(), *count));
        counts.filter(|(_, count)| *count > 0)
    }

    pub(super) fn total(&self) -> u64 {
        self.0
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Those whose names begin with `prefix`, by the rest of their names.
    pub(super) fn with_prefix(&self, prefix: &str) -> Self {
        let counts = self.0.iter().filter_map(|(name, count)| {
            let rest = name.strip_prefix(prefix)?;
            Some((rest.to_owned(), *count))
        });
        Self(counts.collect())
    }

    fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use snaptier::{Settings, SnapshotCache};

    use super::*;

    fn totals(since: &str, layers: &Value, builder: &Value) -> Totals {
        let json = json!({
            "format_version": 1,
            "since": since,
            "layers": layers,
            "builder": builder,
            "outbox": { "added": 1 },
        });
        serde_json::from_value(json).unwrap()
    }

    fn layer(name: &str, hits: u64, errors: &Value, at_most_us: u64) -> Value {
        let latency = json!({
            "calls": hits,
            "total_us": hits.saturating_mul(3),
            "buckets": [{ "at_most_us": at_most_us, "calls": hits }],
        });
        json!({
            "name": name,
            "hits": hits,
            "get_errors": errors,
            "get_latency": latency,
            "put_errors": {},
            "put_latency": { "calls": 0, "total_us": 0, "buckets": [] },
        })
    }

    fn builder(built: u64) -> Value {
        json!({
            "built": built,
            "errors": { "host": 1 },
            "latency": { "calls": 0, "total_us": 0, "buckets": [] },
        })
    }

    #[test]
    fn what_two_processes_did_adds_up_tier_by_tier_and_counter_by_counter() {
        let disk = |hits, errors| layer("l2-disk", hits, &errors, 4);
        let mut sum = totals(
            "2026-01-02T00:00:00Z",
            &json!([disk(2, json!({ "denied": 1 }))]),
            &builder(1),
        );
        sum.add(&totals(
            "2026-01-03T00:00:00Z",
            &json!([
                disk(3, json!({ "denied": 1, "corrupt": 4 })),
                layer("l3-remote", 1, &json!({}), 8)
            ]),
            &builder(2),
        ));
        assert_eq!(sum.since.to_string(), "2026-01-02T00:00:00Z");
        let names: Vec<_> = sum.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["l2-disk", "l3-remote"]);
        let disk = &sum.layers[0];
        assert_eq!(disk.counts.of("hits"), 5);
        let errors: Vec<_> = disk.get_errors.met().collect();
        assert_eq!(errors, [("corrupt", 4), ("denied", 2)]);
        assert_eq!((disk.get_latency.calls, disk.get_latency.total_us), (5, 15));
        assert_eq!(sum.layers[1].counts.of("hits"), 1);
        assert_eq!(sum.builder.counts.of("built"), 3);
        assert_eq!(sum.builder.errors.of("host"), 2);
        assert_eq!(sum.outbox.of("added"), 2);
    }

    #[test]
    fn what_release_0_1_counted_can_be_read_and_added_to() {
        let json = include_bytes!("../../../../../fixtures/stats/v1.json");
        let mut read: Totals = serde_json::from_slice(json).unwrap();
        let once = read.clone();
        assert_eq!(once.layers[0].counts.of("misses"), 2);
        assert_eq!(once.layers[1].get_latency.calls, 1);
        assert_eq!(once.outbox.of("delivered"), 1);
        read.add(&once);
        assert_eq!(read.builder.counts.of("built"), 2);
        assert_eq!(
            read.builder.latency.total_us,
            2 * once.builder.latency.total_us
        );
    }

    #[test]
    fn a_counter_of_a_newer_release_is_kept_and_the_greatest_value_is_kept_to() {
        let mut newer = layer("l2-disk", u64::MAX, &json!({}), 4);
        newer["sideways"] = 7.into();
        let since = "2026-01-02T00:00:00Z";
        let mut sum = totals(since, &json!([newer]), &builder(0));
        let one = layer("l2-disk", 1, &json!({}), 4);
        sum.add(&totals(since, &json!([one]), &builder(0)));
        assert_eq!(sum.layers[0].counts.of("hits"), u64::MAX);
        let json = serde_json::to_value(&sum).unwrap();
        assert_eq!(json["layers"][0]["sideways"], 7);
    }

    #[tokio::test]
    async fn all_that_a_cache_counts_is_taken_over_and_one_that_did_nothing_did_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_dirs(dir.path().join("cache"), dir.path()).unwrap();
        settings.remote = Some("memory://".parse().unwrap());
        let cache = SnapshotCache::builder().settings(settings).build().unwrap();
        let (stats, outbox) = (cache.stats(), cache.outbox().unwrap().stats());
        let totals = Totals::of(&stats, outbox, Timestamp::UNIX_EPOCH).unwrap();
        assert!(totals.is_nothing());
        let json = serde_json::to_value(&totals).unwrap();
        assert_eq!(json["layers"], json!(stats.layers));
        assert_eq!(json["builder"], json!(stats.builder));
        assert_eq!(json["outbox"], json!(outbox));
        for counter in ["hits", "misses", "skipped", "cancelled", "bytes_served"] {
            assert!(json["layers"][1][counter].is_u64(), "{counter}");
        }
        for counter in ["puts", "puts_skipped", "puts_cancelled", "bytes_stored"] {
            assert!(json["layers"][0][counter].is_u64(), "{counter}");
        }
        for counter in ["built", "hedged", "cancelled", "bytes_built"] {
            assert!(json["builder"][counter].is_u64(), "{counter}");
        }
        for counter in ["added", "resumed", "delivered", "set_aside", "dropped_gone"] {
            assert!(json["outbox"][counter].is_u64(), "{counter}");
        }
    }
}
