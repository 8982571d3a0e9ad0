//! A layer and a builder that work as they are told to, and write down who asked what of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    BuildError, BuildErrorKind, CacheLayer, LayerError, LayerErrorKind, Lookup, Snapshot,
    SnapshotBuilder, Staging,
};
use hierarchy::Tier;

use crate::common::{moved_to, snapshot};
use crate::journal::{End, Journal, Op};

/// How something does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Well,
    After(Duration),
    Failing(Failure),
    Stalled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Unavailable,
    Denied,
}

/// A shelf that is there, and below it one that is not.
pub(crate) fn tiers_of_which_the_remote_one_is_down(journal: &Journal) -> [Tier; 2] {
    let far = Shelf::new(1, true, journal);
    far.set_gets(Manner::Failing(Failure::Unavailable));
    [
        Tier::local(Arc::new(Shelf::new(0, false, journal))),
        Tier::remote(Arc::new(far)),
    ]
}

/// A layer of the name that it has in its stack, which keeps what it is given.
#[derive(Debug)]
pub(crate) struct Shelf {
    name: &'static str,
    number: usize,
    /// One that keeps what it has elsewhere gives back what it was given.
    is_remote: bool,
    journal: Journal,
    gets: Mutex<Manner>,
    puts: Mutex<Manner>,
    entries: Mutex<HashMap<CacheKey, Snapshot>>,
}

impl Shelf {
    pub(crate) fn new(number: usize, is_remote: bool, journal: &Journal) -> Self {
        Self {
            name: NAMES[number],
            number,
            is_remote,
            journal: journal.clone(),
            gets: Mutex::new(Manner::Well),
            puts: Mutex::new(Manner::Well),
            entries: Mutex::default(),
        }
    }

    pub(crate) fn set_gets(&self, manner: Manner) {
        *self.gets.lock().unwrap() = manner;
    }

    pub(crate) fn set_puts(&self, manner: Manner) {
        *self.puts.lock().unwrap() = manner;
    }

    /// Has it, as if another host had put it there.
    pub(crate) fn stock(&self, spec: &SnapshotSpec) {
        let snapshot = snapshot(spec, self.name);
        let mut entries = self.entries.lock().unwrap();
        entries.insert(spec.key(), snapshot);
    }

    pub(crate) fn holds(&self, key: &CacheKey) -> bool {
        self.entries.lock().unwrap().contains_key(key)
    }
}

pub(crate) const NAMES: [&str; 4] = ["first", "second", "third", "fourth"];

/// Does the work in that manner; an error is that of a layer.
async fn work(manner: Manner) -> Result<(), LayerError> {
    match manner {
        Manner::Well => Ok(()),
        Manner::After(time) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        Manner::Failing(Failure::Unavailable) => {
            let kind = LayerErrorKind::Unavailable { temporary: true };
            Err(LayerError::new(kind, "reach the shelf"))
        }
        Manner::Failing(Failure::Denied) => {
            Err(LayerError::new(LayerErrorKind::Denied, "open the shelf"))
        }
        Manner::Stalled => std::future::pending().await,
    }
}

fn erred(error: &LayerError) -> End {
    let unavailable = matches!(error.kind(), LayerErrorKind::Unavailable { .. });
    End::Erred { unavailable }
}

#[async_trait]
impl CacheLayer for Shelf {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn get(&self, spec: &SnapshotSpec, _: &Staging) -> Result<Lookup, LayerError> {
        let call = self.journal.begin(Op::Get(self.number));
        let manner = *self.gets.lock().unwrap();
        if let Err(error) = work(manner).await {
            call.end(erred(&error));
            return Err(error);
        }
        let entry = self.entries.lock().unwrap().get(&spec.key()).cloned();
        call.end(if entry.is_some() { End::Hit } else { End::Miss });
        Ok(entry.map_or(Lookup::Miss, Lookup::Hit))
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let call = self.journal.begin(Op::Put(self.number));
        let manner = *self.puts.lock().unwrap();
        if let Err(error) = work(manner).await {
            call.end(erred(&error));
            return Err(error);
        }
        let stored = moved_to(snapshot, self.name);
        let mut entries = self.entries.lock().unwrap();
        entries.insert(snapshot.key().clone(), stored.clone());
        call.end(End::Stored);
        Ok(if self.is_remote {
            snapshot.clone()
        } else {
            stored
        })
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        self.entries.lock().unwrap().remove(key);
        Ok(())
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A builder that builds as it is told to.
#[derive(Debug)]
pub(crate) struct Workshop {
    journal: Journal,
    manner: Mutex<Manner>,
}

/// Who has what a [`Workshop`] built.
pub(crate) const WORKSHOP: &str = "workshop";

impl Workshop {
    pub(crate) fn new(journal: &Journal) -> Self {
        Self {
            journal: journal.clone(),
            manner: Mutex::new(Manner::Well),
        }
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

#[async_trait]
impl SnapshotBuilder for Workshop {
    async fn build(&self, spec: &SnapshotSpec, _: &Staging) -> Result<Snapshot, BuildError> {
        let call = self.journal.begin(Op::Build);
        let manner = *self.manner.lock().unwrap();
        if let Err(error) = work(manner).await {
            call.end(erred(&error));
            return Err(BuildError::new(BuildErrorKind::Temporary, "find a bench"));
        }
        call.end(End::Built);
        Ok(snapshot(spec, WORKSHOP))
    }
}

impl fmt::Display for Workshop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(WORKSHOP)
    }
}
