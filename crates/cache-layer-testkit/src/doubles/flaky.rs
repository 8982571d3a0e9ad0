use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{
    BuildError, BuildErrorKind, CacheLayer, LayerError, LayerErrorKind, Lookup, Snapshot,
    SnapshotBuilder, Staging,
};

use super::Operation;

/// Fails as its [`Faults`] say, and is what is inside otherwise.
///
/// `K` is the kind of its errors: [`LayerErrorKind`] around a layer, [`BuildErrorKind`] around a builder.
#[derive(Debug, Clone)]
pub struct Flaky<T, K> {
    inner: T,
    faults: Faults<K>,
    operations: Vec<Operation>,
}

/// How one call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault<K> {
    /// At once, with nothing done.
    Refused(K),
    /// What was asked for is done, and its answer does not arrive.
    AnswerLost(K),
    /// It panics, with nothing done.
    Panic,
}

/// Which calls fail, and how. Clones share everything: a test keeps one to change its mind.
#[derive(Debug)]
pub struct Faults<K>(Arc<Mutex<Plan<K>>>);

#[derive(Debug)]
enum Plan<K> {
    Always(Fault<K>),
    /// One for each call; none for those that come after the last.
    Script(VecDeque<Option<Fault<K>>>),
    Seeded {
        random: fastrand::Rng,
        one_in: u32,
        faults: Vec<Fault<K>>,
    },
}

impl<T, K> Flaky<T, K> {
    /// `inner`, which fails as `faults` say.
    pub fn new(inner: T, faults: Faults<K>) -> Self {
        Self {
            inner,
            faults,
            operations: Operation::ALL.to_vec(),
        }
    }

    /// Asks the faults about these operations only; the others never fail, and take no place in the script.
    #[must_use]
    pub fn only(self, operations: &[Operation]) -> Self {
        Self {
            operations: operations.to_vec(),
            ..self
        }
    }
}

impl<K> Faults<K> {
    /// No call fails.
    #[must_use]
    pub fn never() -> Self {
        Self::script([])
    }

    /// Every call fails like this.
    #[must_use]
    pub fn always(fault: Fault<K>) -> Self {
        Self::of(Plan::Always(fault))
    }

    /// The first call fails as the first of `calls` says, or not at all where it is `None`; the second as the
    /// second; and so on. None after the last fails.
    pub fn script(calls: impl IntoIterator<Item = Option<Fault<K>>>) -> Self {
        Self::of(Plan::Script(calls.into_iter().collect()))
    }

    /// About one call in `one_in` fails, in one of the ways in `faults`, always the same calls for the same
    /// `seed` and the same order of calls. With 0 for `one_in`, or with no `faults`, none does.
    pub fn seeded(seed: u64, one_in: u32, faults: impl IntoIterator<Item = Fault<K>>) -> Self {
        Self::of(Plan::Seeded {
            random: fastrand::Rng::with_seed(seed),
            one_in,
            faults: faults.into_iter().collect(),
        })
    }

    /// Every call fails like this from now on.
    pub fn fail(&self, fault: Fault<K>) {
        self.set(Plan::Always(fault));
    }

    /// No call fails from now on.
    pub fn heal(&self) {
        self.set(Plan::Script(VecDeque::new()));
    }

    fn of(plan: Plan<K>) -> Self {
        Self(Arc::new(Mutex::new(plan)))
    }

    fn set(&self, plan: Plan<K>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

impl<K: Copy> Faults<K> {
    fn next(&self) -> Option<Fault<K>> {
        let mut plan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *plan {
            Plan::Always(fault) => Some(*fault),
            Plan::Script(calls) => calls.pop_front().flatten(),
            Plan::Seeded {
                random,
                one_in,
                faults,
            } => {
                let fails = *one_in > 0 && random.u32(..*one_in) == 0;
                let index = fails.then(|| random.usize(..faults.len().max(1)))?;
                faults.get(index).copied()
            }
        }
    }
}

impl<K> Clone for Faults<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: fmt::Display, K: Copy> Flaky<T, K> {
    /// What becomes of the next call: the fault that comes after it, if any. `Err` is one that comes before.
    fn begin(&self, operation: Operation) -> Result<Option<K>, K> {
        if !self.operations.contains(&operation) {
            return Ok(None);
        }
        match self.faults.next() {
            None => Ok(None),
            Some(Fault::AnswerLost(kind)) => Ok(Some(kind)),
            Some(Fault::Refused(kind)) => Err(kind),
            Some(Fault::Panic) => panic!("{} panics, as a test wants it to", self.inner),
        }
    }
}

fn lost<T, E>(done: Result<T, E>, error: Option<E>) -> Result<T, E> {
    match error {
        Some(error) => done.and(Err(error)),
        None => done,
    }
}

fn layer_error(operation: Operation, kind: LayerErrorKind) -> LayerError {
    LayerError::new(kind, format!("{operation}, as a test wants it"))
}

fn build_error(kind: BuildErrorKind) -> BuildError {
    BuildError::new(kind, "build, as a test wants it")
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: CacheLayer> CacheLayer for Flaky<T, LayerErrorKind> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        let error = |kind| layer_error(Operation::Get, kind);
        let after = self.begin(Operation::Get).map_err(error)?;
        lost(self.inner.get(spec, staging).await, after.map(error))
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        let error = |kind| layer_error(Operation::Put, kind);
        let after = self.begin(Operation::Put).map_err(error)?;
        lost(self.inner.put(snapshot).await, after.map(error))
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        let error = |kind| layer_error(Operation::Remove, kind);
        let after = self.begin(Operation::Remove).map_err(error)?;
        lost(self.inner.remove(key).await, after.map(error))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: SnapshotBuilder> SnapshotBuilder for Flaky<T, BuildErrorKind> {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        let after = self.begin(Operation::Build).map_err(build_error)?;
        lost(
            self.inner.build(spec, staging).await,
            after.map(build_error),
        )
    }
}

impl<T: fmt::Display, K> fmt::Display for Flaky<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flaky({})", self.inner)
    }
}
