//! Who keeps it from then on.

use std::sync::Arc;

use cache_key::SnapshotSpec;
use cache_layer::Snapshot;

use crate::hierarchy::Inner;
use crate::level::Level;
use crate::search::Found;
use crate::tier::Writes;
use crate::uploads::Destination;
use crate::{Answer, Source};

impl Inner {
    /// Puts what was found or made where it belongs, and makes the answer of it.
    pub(crate) async fn keep(&self, spec: &SnapshotSpec, found: Found) -> Answer {
        match found {
            Found::At(index, snapshot) => {
                let level = &self.levels[index];
                let above = self.levels[..index].iter().rev();
                let (snapshot, kept) = self
                    .store(spec, above, snapshot, |writes| writes.fill)
                    .await;
                Answer {
                    snapshot,
                    source: Source::Layer(level.name()),
                    kept: kept || !level.is_remote(),
                }
            }
            Found::Built(snapshot) => {
                let all = self.levels.iter().rev();
                let (snapshot, kept) = self
                    .store(spec, all, snapshot, |writes| writes.publish)
                    .await;
                Answer {
                    snapshot,
                    source: Source::Built,
                    kept,
                }
            }
        }
    }

    /// Puts `snapshot` into those of `levels`, from the bottom up, that take it. Gives the copy of the topmost
    /// local one, and whether there is any.
    async fn store<'a>(
        &'a self,
        spec: &SnapshotSpec,
        levels: impl Iterator<Item = &'a Arc<Level>>,
        mut snapshot: Snapshot,
        takes: impl Fn(Writes) -> bool,
    ) -> (Snapshot, bool) {
        let (remote, local): (Vec<_>, Vec<_>) = levels
            .filter(|level| takes(level.tier.writes))
            .partition(|level| level.is_remote());
        // First, so that a process that dies once a local layer has it has left word.
        let mut uploads = Vec::new();
        if !spec.packages().is_empty() {
            for level in remote {
                let to = Destination::new(level.clone());
                uploads.push(self.uploads.announce(to, spec, &snapshot).await);
            }
        }
        let mut kept = false;
        for level in local {
            if let Some(stored) = level.put(&snapshot).await {
                snapshot = stored;
                kept = true;
            }
        }
        for upload in uploads {
            self.uploads.begin(upload, snapshot.clone(), kept);
        }
        (snapshot, kept)
    }
}
