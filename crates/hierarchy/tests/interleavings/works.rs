//! Works that know of each other.

use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use shuttle::sync::{Condvar, Mutex};

/// What is worked on, and what was.
#[derive(Clone, Default)]
pub(crate) struct Works(Arc<(Mutex<Ledger>, Condvar)>);

#[derive(Default)]
struct Ledger {
    begun: usize,
    running: Vec<usize>,
    /// Those that came to their end.
    ended: HashSet<usize>,
    /// Those whose outcome somebody got.
    answered: HashSet<usize>,
    /// Pairs of an older and a younger one that ran at once.
    at_once: Vec<(usize, usize)>,
}

/// A work that is under way. Dropped before its end, it was aborted.
struct Running {
    works: Works,
    number: usize,
}

impl Works {
    /// A work of some steps, whose outcome is its number.
    pub(crate) fn short(&self) -> BoxFuture<'static, usize> {
        let works = self.clone();
        async move {
            let running = works.begin();
            for _ in 0..2 {
                shuttle::future::yield_now().await;
            }
            running.end()
        }
        .boxed()
    }

    /// A work that comes to no end.
    pub(crate) fn endless(&self) -> BoxFuture<'static, usize> {
        let works = self.clone();
        async move {
            let _running = works.begin();
            std::future::pending().await
        }
        .boxed()
    }

    /// Somebody was answered that number.
    pub(crate) fn answered(&self, number: usize) {
        let mut ledger = self.0.0.lock().expect("no panic yet");
        assert!(ledger.ended.contains(&number), "answered before the end");
        ledger.answered.insert(number);
    }

    /// That no two ran at once which somebody waited for: one that all have left may come to its end before it
    /// hears of that.
    pub(crate) fn require_none_beside_another(&self) {
        let ledger = self.0.0.lock().expect("no panic yet");
        let was_wanted = |number: &usize| ledger.answered.contains(number);
        let both = |(older, younger): &(_, _)| was_wanted(older) && was_wanted(younger);
        assert!(!ledger.at_once.iter().any(both), "two works at once");
    }

    pub(crate) fn wait_until_none_runs(&self) {
        let (ledger, changed) = &*self.0;
        let mut ledger = ledger.lock().expect("no panic yet");
        while !ledger.running.is_empty() {
            ledger = changed.wait(ledger).expect("no panic yet");
        }
    }

    fn begin(&self) -> Running {
        let mut ledger = self.0.0.lock().expect("no panic yet");
        let number = ledger.begun;
        ledger.begun += 1;
        let pairs: Vec<_> = ledger
            .running
            .iter()
            .map(|older| (*older, number))
            .collect();
        ledger.at_once.extend(pairs);
        ledger.running.push(number);
        Running {
            works: self.clone(),
            number,
        }
    }
}

impl Running {
    fn end(self) -> usize {
        let mut ledger = self.works.0.0.lock().expect("no panic yet");
        ledger.ended.insert(self.number);
        self.number
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (ledger, changed) = &*self.works.0;
        // A scene that failed is taken down with its locks poisoned.
        let Ok(mut ledger) = ledger.lock() else {
            return;
        };
        ledger.running.retain(|running| *running != self.number);
        changed.notify_all();
    }
}

/// Waits for a little: the future is polled once, and dropped.
pub(crate) async fn polled_once<T>(future: BoxFuture<'static, T>) {
    drop(future.now_or_never());
    shuttle::future::yield_now().await;
}
