//! The contract of all layers, on every kind of store.

use std::fs;
use std::sync::Arc;

use async_trait::async_trait;
use cache_layer::CacheLayer;
use cache_layer_testkit::conformance::{
    self, ALL, a_store_that_cannot_be_used_is_an_error_and_no_miss, check,
};
use store_testkit::servers::{self, StoreServer};

use crate::place::{Place, layer, location};

#[async_trait]
impl conformance::Place for Place {
    async fn open(&self) -> Arc<dyn CacheLayer> {
        Arc::new(self.layer_elsewhere())
    }
}

mod memory {
    use crate::place::Place;

    cache_layer_testkit::conformance_tests!(Place::memory());
}

mod a_directory {
    cache_layer_testkit::conformance_tests_in_a_directory!(super::in_directory);
}

mod s3s_fs {
    use crate::place::Place;

    cache_layer_testkit::conformance_tests!(Place::on(&store_testkit::servers::S3sFs));
}

fn in_directory(root: &std::path::Path) -> l3_remote::RemoteLayer {
    let store = root.join("store");
    fs::create_dir_all(&store).unwrap();
    layer(format!("file://{}", store.display()).parse().unwrap())
}

/// The servers that take longer to start are started once for all behaviours; each has a prefix of its own.
async fn tried_as_a_whole(server: &'static dyn StoreServer, lacks: &[&str]) {
    // A server that cannot be had has been told of.
    let Some(place) = Place::on(server) else {
        return;
    };
    let bucket = place.bucket.as_ref().unwrap();
    for behaviour in ALL {
        if lacks.contains(&behaviour.name()) {
            continue;
        }
        let location = location(bucket, behaviour.name());
        let place = move || layer(location.clone());
        check(*behaviour, Arc::new(place)).await.unwrap();
    }
}

macro_rules! as_a_whole {
    ($($name:ident: $server:ident, lacks $lacks:expr;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            tried_as_a_whole(&servers::$server, $lacks).await;
        })+
    };
}

as_a_whole! {
    seaweedfs: SeaweedFs, lacks &[];
    moto: Moto, lacks &[];
    // An upload beside others of the same object, and removals, fails there now and then: its session is gone (404).
    fake_gcs: FakeGcs, lacks &["many_tasks_do_each_other_no_harm"];
    gcp_storage_emulator: GcpStorageEmulator, lacks &[];
}

#[tokio::test]
async fn a_store_without_a_bucket_or_without_a_server_is_no_empty_one() {
    let Some(place) = Place::on(&servers::S3sFs) else {
        return;
    };
    let bucket = place.bucket.as_ref().unwrap();
    // Nobody listens there: the port is that of a server that was stopped.
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for unusable in [
        place.without_bucket(),
        layer(location(&bucket.at(&gone), "team/a")),
    ] {
        a_store_that_cannot_be_used_is_an_error_and_no_miss(Arc::new(unusable))
            .await
            .unwrap();
    }
}
