use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The end of a proxy, which cuts every pause short.
#[derive(Debug, Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(super) fn now(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_now(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes that long, or until the end.
    pub(super) fn pause(&self, length: Duration) {
        if length.is_zero() {
            return;
        }
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .changed
            .wait_timeout_while(stopped, length, |stopped| !*stopped);
    }
}
