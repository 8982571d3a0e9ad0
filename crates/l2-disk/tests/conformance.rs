//! The layer keeps the contract of all layers.

mod l2_disk {
    use l2_disk::DiskLayer;

    cache_layer_testkit::conformance_tests_in_a_directory!(|root| DiskLayer::open(root).unwrap());
}

/// With a limit, whoever puts looks for room first.
mod within_a_budget {
    use l2_disk::{Budget, DiskLayer};

    cache_layer_testkit::conformance_tests_in_a_directory!(|root| {
        let budget = Budget {
            max_bytes: Some(64 << 20),
            ..Budget::default()
        };
        DiskLayer::open(root).unwrap().with_budget(budget)
    });
}
