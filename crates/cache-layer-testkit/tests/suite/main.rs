//! The suite passes layers that keep the contract, and finds out each that breaks it in one way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod careless;
mod finding;

mod memory {
    use cache_layer_testkit::doubles::Memory;

    cache_layer_testkit::conformance_tests!({
        let layer = Memory::new();
        move || layer.clone()
    });
}

/// What the careless layers are, but for their flaws.
mod careful {
    use crate::careless::{Careless, Flaw};

    cache_layer_testkit::conformance_tests_in_a_directory!(|root| Careless::open(root, Flaw::None));
}
