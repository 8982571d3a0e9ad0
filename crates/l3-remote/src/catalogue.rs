//! What is in a store, for people.

use cache_key::CacheKey;
use cache_layer::{LayerError, LayerErrorKind, Manifest, Staging};
use futures::future::ready;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use opendal::{Error, ErrorKind};

use crate::body::{Body, Version};
use crate::fault::{corrupt, layer_error, missing_bucket};
use crate::layer::{FOLDER, key_of, path};
use crate::object::{Beginning, Frame, ObjectError, Splitter};
use crate::pool::Pool;
use crate::receive::{Received, Wanted, beginning, manifest, next};
use crate::{RemoteLayer, StoreKind};

/// An object in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteEntry {
    /// Its name.
    pub key: CacheKey,
    /// Its length in bytes, compressed.
    pub bytes: u64,
    /// When it was written; `None` where the store does not say.
    pub modified: Option<Timestamp>,
}

/// An object in the store, and what it says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStat {
    /// The object.
    pub entry: RemoteEntry,
    /// Its manifest; `None` for a zstd file without one, and for one of a newer release or another name.
    pub manifest: Option<Manifest>,
}

impl RemoteLayer {
    /// All entries, as the store lists them. Objects whose names are no keys are left out.
    ///
    /// # Errors
    ///
    /// The store cannot be listed. What came before the error is good.
    pub fn list(&self) -> impl Stream<Item = Result<RemoteEntry, LayerError>> + Send + '_ {
        let failed = move |error: Error| self.cannot_list(error);
        let listed = async move {
            match self.store.lister(FOLDER).await {
                // A directory in which nothing was put yet.
                Err(error) if error.kind() == ErrorKind::NotFound && self.is_near() => Ok(None),
                lister => lister.map(Some).map_err(failed),
            }
        };
        stream::once(listed)
            .map_ok(move |lister| stream::iter(lister).flatten().map_err(failed))
            .try_flatten()
            .try_filter_map(|listed| ready(Ok(entry(listed))))
    }

    /// What the object of `key` says about itself, without fetching the rest of it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or the object begins with a damaged manifest.
    pub async fn stat(&self, key: &CacheKey) -> Result<Option<RemoteStat>, LayerError> {
        let path = path(key);
        let body = Body::open(&self.store, &path).await;
        let body = body.map_err(|error| layer_error(format!("look at {path}"), error))?;
        let Some(mut body) = body else {
            self.require_bucket(&path).await?;
            return Ok(None);
        };
        let entry = RemoteEntry {
            key: key.clone(),
            bytes: body.version().bytes,
            modified: body.version().modified,
        };
        let manifest = self.manifest(&mut body, &path, key).await?;
        Ok(Some(RemoteStat { entry, manifest }))
    }

    /// Fetches the object of `key` into `staging`, holds it against its manifest in every way in which a
    /// download does, and keeps nothing of it. `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](cache_layer::LayerErrorKind::Corrupt): it is damaged, or not the object of this name. Else,
    /// the store cannot be read, or there is no room in staging.
    pub async fn verify(
        &self,
        key: &CacheKey,
        staging: &Staging,
    ) -> Result<Option<Manifest>, LayerError> {
        let path = path(key);
        let receiver = self.receiver(staging, "");
        match receiver.receive(&path, Wanted::Key(key)).await? {
            Received::Snapshot(snapshot) => Ok(Some(Manifest::clone(snapshot.manifest()))),
            Received::Absent => {
                self.require_bucket(&path).await?;
                Ok(None)
            }
            Received::Other | Received::Newer => {
                let context =
                    format!("verify {path}: it has no manifest of {key} that can be read");
                Err(LayerError::new(LayerErrorKind::Corrupt, context))
            }
        }
    }

    async fn manifest(
        &self,
        body: &mut Body,
        path: &str,
        key: &CacheKey,
    ) -> Result<Option<Manifest>, LayerError> {
        match manifest_json(body, path).await? {
            Some(json) => Ok(manifest(&json, path, Wanted::Key(key))?.ok()),
            None => Ok(None),
        }
    }

    pub(crate) async fn require_bucket(&self, path: &str) -> Result<(), LayerError> {
        let context = format!("look for {path} in {}", self.location);
        self.bucket
            .require(&self.store, &self.location, &context)
            .await
    }

    fn is_near(&self) -> bool {
        matches!(self.location.kind(), StoreKind::File | StoreKind::Memory)
    }

    fn cannot_list(&self, error: Error) -> LayerError {
        let context = format!("list {}", self.location);
        match error.kind() {
            ErrorKind::NotFound => missing_bucket(&context).with_source(error),
            _ => layer_error(context, error),
        }
    }
}

/// The manifest that an object begins with; `None` for a zstd file without one. Nothing after it is read.
pub(crate) async fn manifest_json(
    body: &mut Body,
    path: &str,
) -> Result<Option<Vec<u8>>, LayerError> {
    let unsound = |error: ObjectError| corrupt(path).with_source(error);
    let mut bytes = beginning(body, path).await?;
    match Beginning::of(&bytes) {
        Beginning::Manifest => {}
        Beginning::OtherZstd => return Ok(None),
        Beginning::NotZstd => return Err(unsound(ObjectError::NotZstd)),
    }
    let mut splitter = Splitter::new(&Pool::default());
    loop {
        splitter.push(&std::mem::take(&mut bytes));
        match splitter.next().map_err(unsound)? {
            Some(Frame::Manifest(json)) => return Ok(Some(json)),
            Some(_) => return Ok(None),
            None => {}
        }
        let more = next(body, path).await?;
        bytes = more.ok_or_else(|| unsound(ObjectError::CutOff))?.to_vec();
    }
}

fn entry(listed: opendal::Entry) -> Option<RemoteEntry> {
    let (path, metadata) = listed.into_parts();
    let version = Version::of(&metadata);
    Some(RemoteEntry {
        key: key_of(&path)?,
        bytes: version.bytes,
        modified: version.modified,
    })
}
