//! How much room entries may take, and which of them have to go for that. Nothing here looks at a disk.

use std::time::SystemTime;

use crate::Entry;

/// How much room a layer may take. The default is no limit at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// What all entries may take together, in bytes on the disk (holes take none); `None` for no limit. 0 keeps
    /// nothing but what is in use.
    pub max_bytes: Option<u64>,
    /// What is to stay free on the file system, in bytes, whoever fills it; 0 for no limit.
    pub min_free_bytes: u64,
}

/// What is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Incoming {
    /// What it takes on the disk, in bytes.
    pub(crate) bytes: u64,
    /// Whether it takes them already: it is staged on the same file system.
    pub(crate) is_on_disk: bool,
}

/// Which entries have to go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    /// Positions in the list that the plan was made for, in the order in which they go.
    pub(crate) victims: Vec<usize>,
    /// What is still missing afterwards, in bytes: 0 when the budget is met.
    pub(crate) shortfall: u64,
}

impl Budget {
    /// Whether there is a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }
}

/// Plans which of `entries` go, the least recently used ones first, so that `budget` is kept when `incoming` has come
/// too. `is_pinned` are those that must stay. `free` are the bytes that are free on the file system.
///
/// A use that lies ahead of `now` counts as now: a clock that was wrong once makes nothing immortal.
pub(crate) fn plan(
    entries: &[Entry],
    is_pinned: impl Fn(usize) -> bool,
    budget: Budget,
    free: u64,
    incoming: Incoming,
    now: SystemTime,
) -> Plan {
    let held: u64 = entries.iter().map(|entry| entry.disk_bytes).sum();
    let over_max = budget
        .max_bytes
        .map_or(0, |max| (held + incoming.bytes).saturating_sub(max));
    let still_to_come = if incoming.is_on_disk {
        0
    } else {
        incoming.bytes
    };
    let under_min = match budget.min_free_bytes {
        0 => 0,
        min => (min + still_to_come).saturating_sub(free),
    };
    let mut missing = over_max.max(under_min);

    let mut candidates: Vec<_> = (0..entries.len())
        .filter(|&at| !is_pinned(at) && entries[at].disk_bytes > 0)
        .collect();
    if missing > 0 {
        candidates.sort_by_key(|&at| (entries[at].last_used.min(now), &entries[at].key));
    }
    let mut victims = Vec::new();
    for at in candidates {
        if missing == 0 {
            break;
        }
        missing = missing.saturating_sub(entries[at].disk_bytes);
        victims.push(at);
    }
    Plan {
        victims,
        shortfall: missing,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn entry(number: usize, disk_bytes: u64, age: i64) -> Entry {
        let ago = Duration::from_secs(age.unsigned_abs());
        Entry {
            key: format!("python-v0.1-1a2b3c4d-{number:016x}")
                .parse()
                .unwrap(),
            disk_bytes,
            file_bytes: disk_bytes,
            last_used: if age < 0 { NOW + ago } else { NOW - ago },
        }
    }

    fn max(bytes: u64) -> Budget {
        Budget {
            max_bytes: Some(bytes),
            min_free_bytes: 0,
        }
    }

    fn min_free(bytes: u64) -> Budget {
        Budget {
            max_bytes: None,
            min_free_bytes: bytes,
        }
    }

    fn incoming(bytes: u64, is_on_disk: bool) -> Incoming {
        Incoming { bytes, is_on_disk }
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_of_them_than_needed() {
        let entries = [entry(0, 10, 5), entry(1, 10, 9), entry(2, 10, 7)];
        for (budget, free, new, victims, shortfall) in [
            (Budget::default(), 0, incoming(1000, false), &[][..], 0),
            (max(30), 0, Incoming::default(), &[], 0),
            (max(29), 0, Incoming::default(), &[1], 0),
            (max(30), 0, incoming(11, true), &[1, 2], 0),
            (max(0), 0, Incoming::default(), &[1, 2, 0], 0),
            (max(20), 0, incoming(25, true), &[1, 2, 0], 5),
            (min_free(100), 100, Incoming::default(), &[], 0),
            (min_free(100), 95, Incoming::default(), &[1], 0),
            (min_free(100), 95, incoming(10, false), &[1, 2], 0),
            (min_free(100), 95, incoming(10, true), &[1], 0),
            (min_free(100), 0, Incoming::default(), &[1, 2, 0], 70),
        ] {
            let plan = plan(&entries, |_| false, budget, free, new, NOW);
            let expected = Plan {
                victims: victims.to_vec(),
                shortfall,
            };
            assert_eq!(plan, expected, "{budget:?} {free} {new:?}");
        }
    }

    #[test]
    fn a_use_in_the_future_counts_as_now_and_ties_go_by_key() {
        let entries = [entry(1, 10, -100), entry(0, 10, 0), entry(2, 10, 1)];
        let plan = plan(&entries, |_| false, max(0), 0, Incoming::default(), NOW);
        assert_eq!(plan.victims, [2, 1, 0]);
    }

    proptest! {
        #[test]
        fn a_plan_spares_the_pinned_keeps_the_budget_if_it_can_and_takes_nothing_newer_than_what_it_leaves(
            sizes in proptest::collection::vec((0_u64..1000, -50_i64..50, any::<bool>()), 0..20),
            max_bytes in proptest::option::of(0_u64..5000),
            min_free_bytes in 0_u64..5000,
            free in 0_u64..5000,
            bytes in 0_u64..2000,
            is_on_disk: bool,
        ) {
            let entries: Vec<_> = sizes.iter().enumerate().map(|(at, &(size, age, _))| entry(at, size, age)).collect();
            let is_pinned = |at: usize| sizes[at].2;
            let budget = Budget { max_bytes, min_free_bytes };
            let new = incoming(bytes, is_on_disk);
            let Plan { victims, shortfall } = plan(&entries, is_pinned, budget, free, new, NOW);

            let gone: u64 = victims.iter().map(|&at| entries[at].disk_bytes).sum();
            let held: u64 = entries.iter().map(|entry| entry.disk_bytes).sum();
            let fits = max_bytes.is_none_or(|max| held - gone + bytes <= max)
                && (min_free_bytes == 0 || free + gone >= min_free_bytes + if is_on_disk { 0 } else { bytes });
            prop_assert_eq!(fits, shortfall == 0);
            prop_assert!(victims.iter().all(|&at| !is_pinned(at)));
            let left = || (0..entries.len()).filter(|at| !victims.contains(at) && !is_pinned(*at) && entries[*at].disk_bytes > 0);
            prop_assert!(shortfall == 0 || left().next().is_none(), "something more could have gone");
            let used = |at: usize| entries[at].last_used.min(NOW);
            if let Some(last) = victims.iter().map(|&at| used(at)).max() {
                prop_assert!(left().all(|at| used(at) >= last));
            }
            // Without the last victim it would not have been enough.
            if let (0, Some(&last)) = (shortfall, victims.last()) {
                let gone = gone - entries[last].disk_bytes;
                let fits = max_bytes.is_none_or(|max| held - gone + bytes <= max)
                    && (min_free_bytes == 0 || free + gone >= min_free_bytes + if is_on_disk { 0 } else { bytes });
                prop_assert!(!fits, "one too many went");
            }
        }
    }
}
