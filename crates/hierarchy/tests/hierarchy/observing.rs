//! The statistics, as they are written out.

use std::sync::Arc;

use hierarchy::Hierarchy;

use crate::common::{MockBuilder, spec, staging};
use crate::journal::Journal;
use crate::shelf::{Workshop, tiers_of_which_the_remote_one_is_down};

/// A cache whose remote shelf is down.
pub(crate) fn cache() -> (tempfile::TempDir, Hierarchy) {
    let (root, staging) = staging();
    let journal = Journal::default();
    let tiers = tiers_of_which_the_remote_one_is_down(&journal);
    let workshop = Arc::new(Workshop::new(&journal));
    (root, Hierarchy::new(tiers, workshop, staging))
}

#[tokio::test(start_paused = true)]
async fn statistics_are_json() {
    let (_root, cache) = cache();
    cache.get(&spec(["a==1"])).await.unwrap();
    cache.get(&spec(["a==1"])).await.unwrap();
    cache.shutdown(std::time::Duration::MAX).await;

    let json = serde_json::to_value(cache.stats()).unwrap();

    let near = &json["layers"][0];
    assert_eq!(near["name"], "first");
    assert_eq!((&near["hits"], &near["misses"]), (&1.into(), &2.into()));
    assert_eq!(near["bytes_served"], 3);
    assert_eq!(
        (&near["puts"], &near["bytes_stored"]),
        (&1.into(), &3.into())
    );
    assert_eq!(
        near["get_latency"],
        serde_json::json!({"calls": 3, "total_us": 0, "buckets": [{"at_most_us": 1, "calls": 3}]})
    );
    let far = &json["layers"][1];
    assert_eq!(far["get_errors"]["unavailable"], 1);
    assert_eq!(far["misses"], 0);
    assert_eq!(json["builder"]["built"], 1);
    assert_eq!(json["builder"]["bytes_built"], 3);
}

#[tokio::test]
async fn a_builder_that_panics_is_counted_as_a_defect_of_it() {
    let (_root, staging) = staging();
    let mut builder = MockBuilder::new();
    builder.expect_build().returning(|_, _| panic!("no idea"));
    let cache = Hierarchy::new([], Arc::new(builder), staging);
    cache.get(&spec(["a==1"])).await.unwrap_err();
    let stats = cache.stats().builder;
    assert_eq!((stats.errors.internal, stats.cancelled), (1, 0));
}
