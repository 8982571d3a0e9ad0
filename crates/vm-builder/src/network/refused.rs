use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::Allowlist;

/// The hosts that a guest asked for and that are not on its allowlist, as entries that would allow them. Clones share
/// everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refused(Arc<Mutex<BTreeSet<String>>>);

/// Hosts kept. A guest may ask for as many as it likes.
const MOST: usize = 8;

impl Refused {
    /// Takes note of a host, whatever the guest called it: what is no entry cannot be allowed, and is left out.
    pub(super) fn add(&self, host: &str, port: u16) {
        let entry = match port {
            443 => host.to_owned(),
            port => format!("{host}:{port}"),
        };
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() < MOST && Allowlist::new([&entry]).is_ok() {
            hosts.insert(entry);
        }
    }

    /// The hosts, in order.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_allowed_is_kept_up_to_a_limit_and_nothing_else() {
        let refused = Refused::default();
        refused.add("b.example", 443);
        refused.add("a.example", 8443);
        refused.add("a\u{1b}[2J", 443);
        refused.add("", 443);
        assert_eq!(refused.hosts(), ["a.example:8443", "b.example"]);
        for number in 0..100 {
            refused.add(&format!("h{number}.example"), 443);
        }
        assert_eq!(refused.hosts().len(), MOST);
    }
}
