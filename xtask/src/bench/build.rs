use serde_json::Value;

use super::{Bound, Limit, lines, print_bars, print_bounds};
use crate::Done;
use crate::cargo::cargo;

/// The phases of a build, and the part of each that cannot be done without.
const PHASES: [(&str, &str, &[&str]); 4] = [
    ("boot to agent", "boot_s", &["bare_boot_s"]),
    ("install", "install_s", &["installer_s"]),
    (
        "flush and power off",
        "power_off_s",
        &["flush_s", "bare_power_off_s"],
    ),
    ("check and hash", "check_s", &[]),
];

/// Measures a build.
pub(crate) fn build() -> Done {
    let mut bench = cargo();
    bench.args(["bench", "--package", "snaptier", "--bench", "build"]);
    let lines = lines(&mut bench)?;
    let medians = lines.last().ok_or("the bench measured nothing")?;
    let of = |name: &str| medians[name].as_f64().unwrap_or(f64::NAN);

    let mut bars = Vec::new();
    for (phase, ours, parts) in PHASES {
        bars.push((phase, of(ours)));
        let bare: f64 = parts.iter().map(|part| of(part)).sum();
        if !parts.is_empty() {
            bars.push(("  unavoidable", bare));
        }
    }
    bars.push(("the whole", of("total_s")));
    print_setting(medians);
    print_bars(&bars);
    let ratio = |what: &str, name: &str, most| Bound {
        what: what.to_owned(),
        found: of(name),
        limit: Limit::AtMost(most),
        unit: "",
    };
    print_bounds(&[
        ratio("a build to its unavoidable parts", "build_ratio", 1.15),
        ratio("boot to agent to a bare QEMU's", "boot_ratio", 1.2),
    ]);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
fn print_setting(medians: &Value) {
    let text = |name: &str| medians[name].as_str().unwrap_or_default();
    println!(
        "\n{} with {}; medians of {}",
        text("package"),
        text("accelerator"),
        medians["medians_of"],
    );
}
