//! Real object-store servers, from package registries, on 127.0.0.1.
//!
//! | server | protocol | checks signatures | keeps its data |
//! | --- | --- | --- | --- |
//! | [`S3sFs`] | S3 | yes | in files; a bucket is a directory |
//! | [`SeaweedFs`] | S3 | yes | in volumes on disk |
//! | [`Moto`] | S3 | no | in memory |
//! | [`FakeGcs`] | GCS, JSON | no | in files; a bucket is a directory |
//! | [`GcpStorageEmulator`] | GCS, JSON | no | in files |
//!
//! ```no_run
//! use std::path::Path;
//! use store_testkit::servers::{S3sFs, for_test};
//!
//! // `None` only where servers are declared optional, and not without a word.
//! let Some(server) = for_test(&S3sFs, Path::new("/tmp/of-this-test")) else { return };
//! let bucket = server.make_bucket("snapshots").unwrap();
//! assert!(bucket.remote_uri("a").starts_with("s3://snapshots/a?region=us-east-1&endpoint=http://127.0.0.1:"));
//! ```

mod bucket;
mod detached;
mod error;
mod fake_gcs;
mod gcp_storage_emulator;
mod installation;
mod launch;
mod moto;
mod ports;
mod process;
mod running;
mod s3s_fs;
mod seaweedfs;
mod source;
mod store_server;
mod wanted;

pub use bucket::{Bucket, Keys, Protocol};
pub use detached::{Detached, Stopped};
pub use error::ServerError;
pub use fake_gcs::FakeGcs;
pub use gcp_storage_emulator::GcpStorageEmulator;
pub use installation::Shelf;
pub use moto::Moto;
pub use running::Running;
pub use s3s_fs::S3sFs;
pub use seaweedfs::SeaweedFs;
pub use source::Source;
pub use store_server::{Site, StoreServer};
pub use wanted::{OPTIONAL, for_test};

/// All of them.
pub const ALL: [&dyn StoreServer; 5] = [&S3sFs, &SeaweedFs, &Moto, &FakeGcs, &GcpStorageEmulator];
