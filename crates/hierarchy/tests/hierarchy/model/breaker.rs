//! When a tier is left alone.

use tokio::time::Instant;

use super::{Broken, FAILURES, PAUSE, require};
use crate::journal::End;

/// What a call says about a tier: that it answers, that it does not, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Failed,
    Unknown,
}

impl Fate {
    pub(super) fn of(end: End, is_over: bool) -> Self {
        match end {
            End::Erred { unavailable: true } => Self::Failed,
            End::Dropped if is_over => Self::Failed,
            End::Dropped => Self::Unknown,
            _ => Self::Answered,
        }
    }
}

/// When a tier may and must be left alone. The pause is known between two limits only.
#[derive(Debug)]
pub(super) struct Breaker {
    exists: bool,
    failures: u32,
    opened: Option<Instant>,
    has_probe: bool,
    epoch: u64,
    /// From when to when it may have turned somebody away: what was not done is read of later than it was not done.
    refusing: Vec<(Instant, Option<Instant>)>,
}

impl Breaker {
    pub(super) fn new(exists: bool) -> Self {
        Self {
            exists,
            failures: 0,
            opened: None,
            has_probe: false,
            epoch: 0,
            refusing: Vec::new(),
        }
    }

    pub(super) fn may_refuse(&self, at: Instant) -> bool {
        let mut refusing = self.refusing.iter();
        refusing.any(|(from, to)| *from <= at && to.is_none_or(|to| at <= to))
    }

    pub(super) fn enters(&mut self, at: Instant) -> Result<u64, Broken> {
        require(!self.has_probe, "two probes at once")?;
        if let Some(opened) = self.opened {
            require(opened + PAUSE <= at, "a layer is not left alone")?;
            self.has_probe = true;
            self.epoch += 1;
            self.refuses_until(at);
            self.refusing.push((at, None));
        }
        Ok(self.epoch)
    }

    pub(super) fn leaves(&mut self, epoch: u64, fate: Fate, at: Instant) {
        if !self.exists || epoch != self.epoch {
            return;
        }
        if self.has_probe {
            self.refuses_until(at);
        }
        match (self.has_probe, fate) {
            (false, Fate::Answered) => self.failures = 0,
            (false, Fate::Failed) => {
                self.failures += 1;
                if self.failures == FAILURES {
                    self.opens(at);
                }
            }
            (false, Fate::Unknown) => {}
            (true, Fate::Failed) => self.opens(at),
            (true, Fate::Answered) => {
                (self.opened, self.has_probe, self.failures) = (None, false, 0);
                self.epoch += 1;
            }
            // The next one is the probe, at once.
            (true, Fate::Unknown) => {
                self.opened = Some(at.checked_sub(PAUSE.mul_f64(1.5)).unwrap_or(at));
                self.has_probe = false;
                self.epoch += 1;
            }
        }
    }

    fn opens(&mut self, at: Instant) {
        (self.opened, self.has_probe, self.failures) = (Some(at), false, 0);
        self.epoch += 1;
        self.refusing.push((at, Some(at + PAUSE.mul_f64(1.5))));
    }

    fn refuses_until(&mut self, at: Instant) {
        if let Some((_, to)) = self.refusing.last_mut() {
            *to = Some(to.map_or(at, |to| to.min(at)));
        }
    }
}
