use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Allowlist;

/// The hosts that a guest asked for in vain. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refused(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Those that are not on its allowlist, as entries that would allow them.
    not_allowed: BTreeSet<String>,
    /// Whether one that is on it could not be reached.
    was_unreachable: bool,
}

/// Hosts kept. A guest may ask for as many as it likes.
const MOST: usize = 8;

impl Refused {
    /// Takes note of a host, whatever the guest called it: what is no entry cannot be allowed, and is left out.
    pub(super) fn not_allowed(&self, host: &str, port: u16) {
        let entry = match port {
            443 => host.to_owned(),
            port => format!("{host}:{port}"),
        };
        let hosts = &mut self.inner().not_allowed;
        if hosts.len() < MOST && Allowlist::new([&entry]).is_ok() {
            hosts.insert(entry);
        }
    }

    /// Takes note that an allowed host could not be reached. True for the first.
    pub(super) fn unreachable(&self) -> bool {
        !std::mem::replace(&mut self.inner().was_unreachable, true)
    }

    /// The hosts that were not allowed, in order, if that alone can be why something failed: none if an allowed one
    /// could not be reached either.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let inner = self.inner();
        match inner.was_unreachable {
            true => Vec::new(),
            false => inner.not_allowed.iter().cloned().collect(),
        }
    }

    /// Forgets all, for another try.
    pub(crate) fn forget(&self) {
        *self.inner() = Inner::default();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_allowed_is_kept_up_to_a_limit_and_nothing_else() {
        let refused = Refused::default();
        refused.not_allowed("b.example", 443);
        refused.not_allowed("a.example", 8443);
        refused.not_allowed("a\u{1b}[2J", 443);
        refused.not_allowed("", 443);
        assert_eq!(refused.hosts(), ["a.example:8443", "b.example"]);
        for number in 0..100 {
            refused.not_allowed(&format!("h{number}.example"), 443);
        }
        assert_eq!(refused.hosts().len(), MOST);
    }

    #[test]
    fn what_may_have_failed_for_another_reason_is_laid_to_nobodys_charge() {
        let refused = Refused::default();
        refused.not_allowed("a.example", 443);
        assert!(refused.unreachable());
        assert!(!refused.unreachable());
        assert_eq!(refused.hosts(), [] as [&str; 0]);
        refused.forget();
        refused.not_allowed("b.example", 443);
        assert_eq!(refused.hosts(), ["b.example"]);
    }
}
