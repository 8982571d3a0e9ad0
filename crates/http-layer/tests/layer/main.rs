//! The layer on a real HTTP server: the contract of all layers, and what the server's answers come to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod server;

mod contract {
    use crate::server::Server;

    cache_layer_testkit::conformance_tests!(Server::start());
}
