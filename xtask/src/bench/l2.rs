use super::{Bound, Limit, criterion, median, print_bounds, print_rows, text};
use crate::Done;

const NAMES: [&str; 12] = [
    "hit among 10",
    "hit among 1000",
    "hit among 100000",
    "miss among 10",
    "miss among 1000",
    "miss among 100000",
    "bare open, fstat, read, lock",
    "qemu-img check",
    "put/100 MB",
    "evict one of/10",
    "evict one of/1000",
    "evict one of/100000",
];

/// Measures the local disk.
pub(crate) fn l2() -> Done {
    criterion("l2-disk", "l2")?;
    let mut rows = Vec::new();
    for name in NAMES {
        rows.push([name.to_owned(), text(median(name)?)]);
    }
    print_rows(["BENCH", "MEDIAN"], rows.into_iter());

    let of = |name| median(name).map(|time| time.as_secs_f64());
    let (few, many) = (of("hit among 10")?, of("hit among 100000")?);
    let bounds = [
        Bound {
            what: "a hit".to_owned(),
            found: many * 1e6,
            limit: Limit::AtMost(100.0),
            unit: " µs",
        },
        Bound {
            what: "a hit among 100,000 to one among 10".to_owned(),
            found: many / few,
            limit: Limit::AtMost(1.25),
            unit: "",
        },
        Bound {
            what: "a hit to the bare open, fstat, 4 KiB read and lock".to_owned(),
            found: many / of("bare open, fstat, read, lock")?,
            limit: Limit::AtMost(5.0),
            unit: "",
        },
        Bound {
            what: "100 hits to one `qemu-img check` of the file".to_owned(),
            found: 100.0 * many / of("qemu-img check")?,
            limit: Limit::AtMost(1.0),
            unit: "",
        },
    ];
    print_bounds(&bounds);
    Ok(())
}
