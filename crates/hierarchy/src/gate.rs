//! A breaker among the calls of a program: it knows the time, draws the chance, and says aloud what it does.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::BreakerSettings;
use crate::breaker::{Breaker, Pass, Turn, Verdict};

/// Where calls of one kind to one tier go through; wide open where there is no breaker.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The tier and the kind of call, for the log.
    layer: &'static str,
    calls: &'static str,
    breaker: Option<Mutex<Breaker>>,
}

/// A call that was let through. Dropped before it is settled, it says nothing about the tier.
#[derive(Debug)]
#[must_use = "the call is over as soon as this is dropped"]
pub(crate) struct Passage<'a> {
    gate: &'a Gate,
    pass: Option<Pass>,
}

impl Gate {
    pub(crate) fn new(
        layer: &'static str,
        calls: &'static str,
        settings: Option<BreakerSettings>,
    ) -> Self {
        Self {
            layer,
            calls,
            breaker: settings.map(|settings| Mutex::new(Breaker::new(settings))),
        }
    }

    /// Leave for one call, unless the tier is to be left alone.
    pub(crate) fn enter(&self) -> Option<Passage<'_>> {
        let pass = match &self.breaker {
            Some(breaker) => {
                let mut breaker = breaker.lock().unwrap_or_else(PoisonError::into_inner);
                Some(breaker.admit(Instant::now())?)
            }
            None => None,
        };
        Some(Passage { gate: self, pass })
    }

    fn settle(&self, pass: Pass, verdict: Verdict) {
        let Some(breaker) = &self.breaker else { return };
        let turn = breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .settle(pass, verdict, Instant::now(), fastrand::f64());
        let (layer, calls) = (self.layer, self.calls);
        match turn {
            Some(Turn::Opened(pause)) => {
                tracing::warn!(
                    layer,
                    calls,
                    ?pause,
                    "a layer that does not answer is left alone"
                );
            }
            Some(Turn::Closed) => tracing::info!(layer, calls, "a layer answers again"),
            None => {}
        }
    }
}

impl Passage<'_> {
    pub(crate) fn settle(mut self, verdict: Verdict) {
        if let Some(pass) = self.pass.take() {
            self.gate.settle(pass, verdict);
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.gate.settle(pass, Verdict::Unknown);
        }
    }
}
