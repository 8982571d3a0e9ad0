use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};
use cache_layer::{BuildError, CacheLayer, LayerError, Lookup, Snapshot, SnapshotBuilder, Staging};
use tokio::sync::Notify;

use super::Operation;

/// Has each call wait at its [`Gate`] before it begins.
#[derive(Debug, Clone)]
pub struct Gated<T> {
    inner: T,
    gate: Gate,
    operations: Vec<Operation>,
}

/// Where calls wait until the test lets them through, and where the test waits for calls. Clones share
/// everything, and any number of doubles may have one gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    /// How many more may go through while it is closed.
    passes: usize,
    arrived: usize,
    through: usize,
    left: usize,
}

impl<T> Gated<T> {
    /// `inner` behind `gate`.
    pub fn new(inner: T, gate: Gate) -> Self {
        Self {
            inner,
            gate,
            operations: Operation::ALL.to_vec(),
        }
    }

    /// Has these operations wait only; the others go straight through, uncounted.
    #[must_use]
    pub fn only(self, operations: &[Operation]) -> Self {
        Self {
            operations: operations.to_vec(),
            ..self
        }
    }

    async fn pass(&self, operation: Operation) {
        if self.operations.contains(&operation) {
            self.gate.pass().await;
        }
    }
}

impl Gate {
    /// A gate at which every call waits.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// A gate that only counts, until it is closed.
    #[must_use]
    pub fn opened() -> Self {
        let gate = Self::default();
        gate.open();
        gate
    }

    /// Lets all through who wait and who come later.
    pub fn open(&self) {
        self.change(|state| state.is_open = true);
    }

    /// Has those wait who come later.
    pub fn close(&self) {
        self.change(|state| state.is_open = false);
    }

    /// Lets `calls` more calls through, of those who wait or else of those who come later.
    pub fn let_through(&self, calls: usize) {
        self.change(|state| state.passes += calls);
    }

    /// Waits until `calls` calls in all have come to the gate, whatever became of them.
    pub async fn arrived(&self, calls: usize) {
        self.until(|state| state.arrived >= calls).await;
    }

    /// Waits until `calls` calls in all have gone through.
    pub async fn passed(&self, calls: usize) {
        self.until(|state| state.through >= calls).await;
    }

    /// Waits until `calls` calls in all were dropped while they waited here.
    pub async fn left(&self, calls: usize) {
        self.until(|state| state.left >= calls).await;
    }

    /// How many calls have come so far.
    #[must_use]
    pub fn arrivals(&self) -> usize {
        self.state().arrived
    }

    /// How many calls wait here now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = self.state();
        state.arrived - state.through - state.left
    }

    async fn pass(&self) {
        self.change(|state| state.arrived += 1);
        let waiting = Waiting(self);
        self.until_changed(|state| {
            if !state.is_open && state.passes == 0 {
                return false;
            }
            if !state.is_open {
                state.passes -= 1;
            }
            state.through += 1;
            true
        })
        .await;
        std::mem::forget(waiting);
        self.0.changed.notify_waiters();
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        self.until_changed(|state| reached(state)).await;
    }

    async fn until_changed(&self, mut done: impl FnMut(&mut State) -> bool) {
        loop {
            // Made before looking, it hears of what changes from here on.
            let changed = self.0.changed.notified();
            if done(&mut self.state()) {
                return;
            }
            changed.await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call at the gate; dropped there, it has left.
struct Waiting<'a>(&'a Gate);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.left += 1);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: CacheLayer> CacheLayer for Gated<T> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError> {
        self.pass(Operation::Get).await;
        self.inner.get(spec, staging).await
    }

    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError> {
        self.pass(Operation::Put).await;
        self.inner.put(snapshot).await
    }

    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError> {
        self.pass(Operation::Remove).await;
        self.inner.remove(key).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: SnapshotBuilder> SnapshotBuilder for Gated<T> {
    async fn build(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Snapshot, BuildError> {
        self.pass(Operation::Build).await;
        self.inner.build(spec, staging).await
    }
}

impl<T: fmt::Display> fmt::Display for Gated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gated({})", self.inner)
    }
}
