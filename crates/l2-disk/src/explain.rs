//! What the layer would answer, and why, without changing anything.

use std::error::Error;
use std::io;

use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{Explanation, Kinship, LayerError, Near};

use crate::DiskLayer;
use crate::catalog::keys;
use crate::directory::{Directory, cannot_check, cannot_look};
use crate::entry::{Examined, Failure, Fault};
use crate::layout::Layout;
use crate::pin::peek;
use crate::sidecar::Sidecar;

/// The most manifests that are read to find the nearest package set.
const MOST_MANIFESTS: usize = 1024;

impl DiskLayer {
    /// What [`get`](cache_layer::CacheLayer::get) would answer now, and why.
    ///
    /// Nothing is changed: an entry that cannot be used stays, none counts as used, and none is locked. One that a hit
    /// would verify first is read whole and checked by `qemu-img`, which takes a second per GB or two. A miss comes with
    /// the nearest entry, from the names of all and the manifests of at most 1024.
    ///
    /// # Errors
    ///
    /// The directory or the entry cannot be read, or `qemu-img` cannot be run.
    pub async fn explain(&self, spec: &SnapshotSpec) -> Result<Explanation, LayerError> {
        let spec = spec.clone();
        self.on(move |directory| explain(directory, &spec)).await
    }
}

fn explain(directory: &Directory, spec: &SnapshotSpec) -> Result<Explanation, LayerError> {
    let key = spec.key();
    let fault = match directory.examine(spec, peek)? {
        Examined::Absent | Examined::Busy => {
            let near = nearest(&directory.layout, spec);
            let near = near.map_err(|error| cannot_look(&key, error))?;
            return Ok(Explanation::Absent { near });
        }
        Examined::Proved(..) => {
            let why = "it is the very file that was verified when it came in";
            return Ok(Explanation::Hit(why.to_owned()));
        }
        Examined::Unproved(entry) => match entry.verify(spec, &directory.qemu_img) {
            Ok(_) => {
                let why = "nobody has verified it as it is now, and read whole it is sound";
                return Ok(Explanation::Hit(why.to_owned()));
            }
            Err(Failure::Fault(fault)) => fault,
            Err(Failure::Io(error)) => return Err(cannot_look(&key, error)),
            Err(Failure::Tool(error)) => return Err(cannot_check(&key, error)),
        },
        Examined::Unusable(fault) => fault,
    };
    Ok(told(&directory.layout, &key, &fault))
}

fn told(layout: &Layout, key: &CacheKey, fault: &Fault) -> Explanation {
    let why = with_causes(fault);
    match fault {
        Fault::OtherSpec => match Sidecar::read(&layout.sidecar(key)) {
            Ok(Some((sidecar, _))) => Explanation::OtherRequest(sidecar.manifest.spec().clone()),
            // Somebody has changed it since.
            _ => Explanation::Corrupt(why),
        },
        Fault::BackingMissing(_) | Fault::OtherBacking { .. } => Explanation::BackingFile(why),
        fault if fault.is_from_the_future() => Explanation::Newer(why),
        _ => Explanation::Corrupt(why),
    }
}

fn with_causes(fault: &Fault) -> String {
    let mut why = fault.to_string();
    let mut cause = fault.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    why
}

/// The entry that is almost that of `spec`: the same packages first, then those that share the most.
fn nearest(layout: &Layout, spec: &SnapshotSpec) -> io::Result<Option<Near>> {
    let wanted = spec.key();
    let mut kin: Vec<_> = keys(layout)?
        .into_iter()
        .filter_map(|key| Some((Kinship::of(&key, &wanted)?, key)))
        .collect();
    kin.sort();
    let kin = kin.into_iter().take(MOST_MANIFESTS);
    let near = kin.filter_map(|(kinship, key)| near(layout, spec, kinship, key));
    Ok(near
        .min_by_key(|(distance, near)| (near.kinship, *distance))
        .map(|(_, near)| near))
}

/// The entry of `key` and how far its packages are from those of `spec`; `None` if what its name tells is not so, or
/// they have nothing in common.
fn near(
    layout: &Layout,
    spec: &SnapshotSpec,
    kinship: Kinship,
    key: CacheKey,
) -> Option<(usize, Near)> {
    let sidecar = Sidecar::read(&layout.sidecar(&key)).ok().flatten();
    let found = sidecar.map(|(sidecar, _)| sidecar.manifest.spec().clone());
    let distance = match (&found, kinship) {
        (Some(found), Kinship::OtherPackages) => Near::distance(spec.packages(), found.packages())?,
        (Some(found), _) if found.packages() != spec.packages() => return None,
        // Nothing but its name is known of it.
        (None, Kinship::OtherPackages) => return None,
        _ => 0,
    };
    let spec = found;
    Some((distance, Near { kinship, key, spec }))
}
