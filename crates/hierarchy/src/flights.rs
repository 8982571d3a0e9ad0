//! One piece of work per key at a time, however many wait for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::PoisonError;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::concurrency::{Mutex, spawn};

/// The work that is under way.
#[derive(Debug)]
pub(crate) struct Flights<K, T: Clone>(Mutex<HashMap<K, WeakShared<BoxFuture<'static, T>>>>);

/// A place among those who wait. The work stops when the last of them is dropped.
pub(crate) type Waiter<T> = Shared<BoxFuture<'static, T>>;

impl<K, T: Clone> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: Clone + Send + Sync + 'static> Flights<K, T> {
    /// Joins the work on `key`, or starts `work` on a task of its own when there is none. When it panics,
    /// `panicked` makes of that what the waiters get.
    pub(crate) fn join<F>(
        &self,
        key: K,
        work: impl FnOnce() -> F,
        panicked: impl FnOnce(String) -> T + Send + 'static,
    ) -> Waiter<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiter) = flights.get(&key).and_then(WeakShared::upgrade) {
            return waiter;
        }
        // A task, because a waiter that is not polled must not hold up the others.
        let waiter = spawn(work())
            .map(|ended| ended.unwrap_or_else(|error| panicked(error.to_string())))
            .boxed()
            .shared();
        flights.retain(|_, waiter| waiter.upgrade().is_some());
        if let Some(weak) = waiter.downgrade() {
            flights.insert(key, weak);
        }
        waiter
    }
}
