//! What the remote tier does beyond the contract of all layers, on every store: a test per store and behaviour.

mod behaviours;

use store_testkit::servers;

use crate::place::Place;

macro_rules! on_each_store {
    ($($store:ident: $place:expr, $behaviours:ident;)+) => {
        $(mod $store {
            use super::*;
            $behaviours! { $place }
        })+
    };
}

macro_rules! tests {
    ($place:expr; $($behaviour:ident)+) => {
        $(#[tokio::test]
        async fn $behaviour() {
            // A server that cannot be had has been told of.
            if let Some(place) = $place {
                super::behaviours::$behaviour(&place).await;
            }
        })+
    };
}

/// What every store does.
macro_rules! as_any_store {
    ($place:expr) => {
        tests! { $place;
            what_takes_several_parts_comes_back_byte_by_byte
            storing_it_again_leaves_one_object
            entries_are_listed_looked_at_verified_and_removed
            two_hosts_with_different_base_images_share_what_either_puts
        }
    };
}

/// What can be shown of a store that others than its user can write to.
macro_rules! as_shared_store {
    ($place:expr) => {
        as_any_store! { $place }
        tests! { $place;
            a_damaged_object_is_corrupt_and_the_next_upload_replaces_it
        }
    };
}

macro_rules! as_bucket {
    ($place:expr) => {
        as_shared_store! { $place }
        tests! { $place;
            seed_15_a_bucket_that_does_not_exist_is_told_with_its_remedy
        }
    };
}

on_each_store! {
    memory: Some(Place::memory()), as_any_store;
    a_directory: Some(Place::directory()), as_shared_store;
    s3s_fs: Place::on(&servers::S3sFs), as_bucket;
    seaweedfs: Place::on(&servers::SeaweedFs), as_bucket;
    moto: Place::on(&servers::Moto), as_bucket;
    fake_gcs: Place::on(&servers::FakeGcs), as_bucket;
    gcp_storage_emulator: Place::on(&servers::GcpStorageEmulator), as_bucket;
}
