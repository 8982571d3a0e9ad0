//! What the layer would answer, and why, without fetching a snapshot.

use cache_key::{CanonicalSpec, SnapshotSpec};
use cache_layer::{Explanation, Kinship, LayerError, Manifest, ManifestError, Near};
use futures::{StreamExt, TryStreamExt};

use crate::RemoteLayer;
use crate::body::Body;
use crate::catalogue::manifest_json;
use crate::fault::{corrupt, layer_error};
use crate::layer::path;

/// The most names that are listed to find the same packages over another base image: one page of most stores.
const MOST_NAMES: usize = 1000;

impl RemoteLayer {
    /// What [`get`](cache_layer::CacheLayer::get) would answer now, and why, as far as the manifest shows it: the bytes
    /// behind it are checked where they are fetched, and [`verify`](Self::verify) does that.
    ///
    /// Nothing is changed and nothing is kept. A miss comes with the same packages over another base image, if they are
    /// among the first 1000 names that the store lists, and it lists any.
    ///
    /// # Errors
    ///
    /// As for `get`: the store does not answer, has no such bucket or refuses access, or the object begins with a damaged
    /// manifest.
    pub async fn explain(&self, spec: &SnapshotSpec) -> Result<Explanation, LayerError> {
        let path = path(&spec.key());
        let body = Body::open(&self.store, &path).await;
        let body = body.map_err(|error| layer_error(format!("look at {path}"), error))?;
        let Some(mut body) = body else {
            self.require_bucket(&path).await?;
            let near = self.same_packages(spec).await;
            return Ok(Explanation::Absent { near });
        };
        let Some(json) = manifest_json(&mut body, &path).await? else {
            return Ok(match self.accept_unmanifested {
                true => Explanation::Hit(
                    "it has no manifest, and is taken for what its name says if it is sound"
                        .to_owned(),
                ),
                false => Explanation::NoManifest,
            });
        };
        match Manifest::from_json(&json) {
            Ok(manifest) if *manifest.spec() == spec.canonical() => Ok(Explanation::Hit(
                "its manifest is that of the request; its bytes are checked when it is fetched"
                    .to_owned(),
            )),
            Ok(manifest) => Ok(Explanation::OtherRequest(manifest.spec().clone())),
            Err(error @ ManifestError::Newer { .. }) => Ok(Explanation::Newer(error.to_string())),
            Err(error) => Err(corrupt(&path).with_source(error)),
        }
    }

    /// An entry with the packages of `spec` under another name. Who may read objects need not be allowed to list them.
    async fn same_packages(&self, spec: &SnapshotSpec) -> Option<Near> {
        let wanted = spec.key();
        let listed: Result<Vec<_>, _> = self.list().take(MOST_NAMES).try_collect().await;
        let listed = listed
            .inspect_err(|error| tracing::debug!(%error, "cannot look for entries that are near"))
            .ok()?;
        let kin = listed.into_iter().filter_map(|entry| {
            let kinship = Kinship::of(&entry.key, &wanted)?;
            (kinship != Kinship::OtherPackages).then_some((kinship, entry.key))
        });
        let (kinship, key) = kin.min()?;
        let found = self.stat(&key).await.ok().flatten();
        let found = found.and_then(|found| found.manifest);
        let found = found.map(|manifest| manifest.spec().clone());
        // Two sets can have one sum.
        let is_other = |found: &CanonicalSpec| found.packages() != spec.packages();
        if found.as_ref().is_some_and(is_other) {
            return None;
        }
        let spec = found;
        Some(Near { kinship, key, spec })
    }
}
