//! Flights with a fault in them, to be found.

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use crate::SingleFlight;
use crate::concurrency::{Mutex, spawn};

/// Looks for a flight under one lock, and starts one under another.
#[derive(Default)]
pub(crate) struct Hasty(Mutex<Option<WeakShared<BoxFuture<'static, usize>>>>);

impl SingleFlight for Hasty {
    fn join(&self, work: BoxFuture<'static, usize>) -> BoxFuture<'static, usize> {
        let there = self.0.lock().expect("no panic yet").clone();
        if let Some(waiter) = there.and_then(|flight| flight.upgrade()) {
            return waiter.boxed();
        }
        let waiter = started(work);
        *self.0.lock().expect("no panic yet") = waiter.downgrade();
        waiter.boxed()
    }
}

/// Waits itself for what others wait for, and so keeps it going when they have left.
#[derive(Default)]
pub(crate) struct Deaf(Mutex<Option<Shared<BoxFuture<'static, usize>>>>);

impl SingleFlight for Deaf {
    fn join(&self, work: BoxFuture<'static, usize>) -> BoxFuture<'static, usize> {
        let mut flight = self.0.lock().expect("no panic yet");
        flight.get_or_insert_with(|| started(work)).clone().boxed()
    }
}

fn started(work: BoxFuture<'static, usize>) -> Shared<BoxFuture<'static, usize>> {
    let ended = spawn(work).map(|ended| ended.expect("nobody aborts it"));
    ended.boxed().shared()
}
