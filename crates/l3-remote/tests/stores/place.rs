//! Stores of every kind, each made for one test.

use std::fs;
use std::time::Duration;

use cache_key::CacheKey;
use l3_remote::{Patience, RemoteLayer, RemoteLocation, S3Keys, StoreKind};
use store_testkit::servers::{self, Bucket, Running, StoreServer};

/// A store, and whatever has to live as long as it does.
pub(crate) struct Place {
    location: RemoteLocation,
    layer: RemoteLayer,
    missing: Option<RemoteLocation>,
    /// A server's bucket.
    pub(crate) bucket: Option<Bucket>,
    _server: Option<Running>,
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn directory() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uri = format!("file://{}", dir.path().display());
        Self::local(&uri, dir)
    }

    pub(crate) fn memory() -> Self {
        Self::local("memory://", tempfile::tempdir().unwrap())
    }

    fn local(uri: &str, dir: tempfile::TempDir) -> Self {
        Self {
            layer: layer(uri.parse().unwrap()),
            location: uri.parse().unwrap(),
            missing: None,
            bucket: None,
            _server: None,
            dir,
        }
    }

    /// `None` if the server cannot be had, and need not.
    pub(crate) fn on(server: &'static dyn StoreServer) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let server = servers::for_test(server, dir.path())?;
        let bucket = server.make_bucket("snapshots-of-tests").unwrap();
        Some(Self {
            layer: layer(location(&bucket, "team/a")),
            location: location(&bucket, "team/a"),
            missing: Some(location(&server.bucket("nobody-made-this"), "team/a")),
            bucket: Some(bucket),
            _server: Some(server),
            dir,
        })
    }

    pub(crate) fn layer(&self) -> RemoteLayer {
        self.layer.clone()
    }

    /// The tier as another host has it, where the store is not this process's own.
    pub(crate) fn layer_elsewhere(&self) -> RemoteLayer {
        match self.location.kind() {
            StoreKind::Memory => self.layer(),
            _ => layer(self.location.clone()),
        }
    }

    /// Damages an object in the midst, as somebody else who writes to the store.
    pub(crate) fn flip_a_bit_of(&self, key: &CacheKey) {
        let object = format!("snapshots/{key}.qcow2.zst");
        let flip = |mut bytes: Vec<u8>| {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            bytes
        };
        match &self.bucket {
            Some(bucket) => {
                let object = format!("team/a/{object}");
                let bytes = bucket.get(&object).unwrap().expect("it was put");
                bucket.put(&object, flip(bytes)).unwrap();
            }
            None => {
                let path = self.dir.path().join(object);
                let bytes = fs::read(&path).unwrap();
                fs::write(path, flip(bytes)).unwrap();
            }
        }
    }

    /// The tier in a bucket that does not exist.
    pub(crate) fn without_bucket(&self) -> RemoteLayer {
        layer(self.missing.clone().expect("it has buckets"))
    }
}

pub(crate) fn layer(location: RemoteLocation) -> RemoteLayer {
    RemoteLayer::with_patience(location, &impatient()).unwrap()
}

/// What a test waits for.
pub(crate) fn impatient() -> Patience {
    let mut patience = Patience::default();
    patience.call = Duration::from_secs(5);
    patience.idle = Duration::from_secs(2);
    patience.part = Duration::from_secs(5);
    patience.first_wait = Duration::from_millis(10);
    patience.longest_wait = Duration::from_millis(50);
    patience
}

pub(crate) fn location(bucket: &Bucket, prefix: &str) -> RemoteLocation {
    let location: RemoteLocation = bucket.remote_uri(prefix).parse().unwrap();
    match &bucket.keys {
        Some(keys) => location.with_s3_keys(S3Keys {
            access: keys.access.clone(),
            secret: keys.secret.clone(),
            session_token: None,
        }),
        None => location,
    }
}
