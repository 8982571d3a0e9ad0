use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Kind;
use super::head::RequestHead;
use super::script::Due;

/// A request that has come to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it asks.
    pub kind: Kind,
    /// Its method.
    pub method: String,
    /// Its path and query, as they were on the wire.
    pub target: String,
    /// The rule of the script whose turn it was.
    pub rule: Option<usize>,
    /// That rule's fault has happened to it.
    pub is_injected: bool,
}

/// All requests that have come, in their order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    seen: Mutex<Vec<Seen>>,
    changed: Condvar,
}

impl Journal {
    /// Notes a request, and says at which place.
    pub(super) fn note(&self, request: &RequestHead, due: Option<&Due>) -> usize {
        let mut seen = self.lock();
        seen.push(Seen {
            kind: Kind::of(request),
            method: request.method.clone(),
            target: request.target.clone(),
            rule: due.map(|due| due.rule),
            is_injected: false,
        });
        self.changed.notify_all();
        seen.len() - 1
    }

    pub(super) fn injected(&self, place: usize) {
        self.lock()[place].is_injected = true;
        self.changed.notify_all();
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    pub(super) fn wait_until(
        &self,
        patience: Duration,
        mut is_it: impl FnMut(&[Seen]) -> bool,
    ) -> bool {
        let (seen, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |seen| !is_it(seen))
            .unwrap_or_else(PoisonError::into_inner);
        is_it(&seen)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
