use std::time::Duration;

use serde_json::Value;

use super::{Bound, Limit, lines, print_bounds, print_rows, text};
use crate::Done;
use crate::cargo::cargo;

/// Measures what the hierarchy costs on top of the local disk.
pub(crate) fn hierarchy() -> Done {
    let lines = lines(cargo().args(["bench", "--package", "snaptier", "--bench", "hierarchy"]))?;
    let of = |what: &str, name: &str| {
        let line = lines.iter().find(|line| line["what"] == what);
        let figure = line.and_then(|line| line[name].as_f64());
        figure.ok_or_else(|| format!("the bench says no {name} of {what}"))
    };
    let (alone, within) = (of("hit", "l2_us")?, of("hit", "hierarchy_us")?);
    let many = "many at once";
    let (l2, hierarchy) = (
        of(many, "l2_gets_per_s")?,
        of(many, "hierarchy_gets_per_s")?,
    );
    let stalled = "beside a stalled layer";
    let without = of(stalled, "gets_per_s_without")?;
    let beside = of(stalled, "gets_per_s_beside")?;

    let line = lines.iter().find(|line| line["what"] == many);
    let count = |name| line.map_or(&Value::Null, |line| &line[name]);
    let at_once = format!("{} gets of {} keys at once", count("gets"), count("keys"));
    let per_second = |rate: f64| format!("{rate:.0}/s");
    let micros = |us: f64| text(Duration::from_secs_f64(us / 1e6));
    let rows = [
        ("a hit of L2".to_owned(), micros(alone)),
        (
            "a hit of L2 through the hierarchy".to_owned(),
            micros(within),
        ),
        (format!("{at_once}: L2"), per_second(l2)),
        (format!("{at_once}: the hierarchy"), per_second(hierarchy)),
        ("the same, all layers sound".to_owned(), per_second(without)),
        ("the same, one layer stalled".to_owned(), per_second(beside)),
    ];
    print_rows(
        ["BENCH", "MEDIAN"],
        rows.map(|(what, figure)| [what, figure]).into_iter(),
    );
    print_bounds(&[
        Bound {
            what: "what the hierarchy adds to a hit of L2".to_owned(),
            found: within - alone,
            limit: Limit::AtMost(20.0),
            unit: " µs",
        },
        Bound {
            what: format!("{at_once}: the hierarchy to L2"),
            found: hierarchy / l2,
            limit: Limit::AtLeast(0.8),
            unit: "",
        },
        Bound {
            what: "one layer stalled to all sound".to_owned(),
            found: beside / without,
            limit: Limit::AtLeast(0.8),
            unit: "",
        },
    ]);
    Ok(())
}
