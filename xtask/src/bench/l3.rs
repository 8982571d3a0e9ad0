use std::path::Path;

use serde_json::Value;

use super::{Bound, lines, print_bounds, print_rows};
use crate::Done;
use crate::cargo::cargo;

/// Measures the remote store, beside the peer if there is one.
pub(crate) fn l3(peer: Option<&Path>, python: &str) -> Done {
    let mut bench = cargo();
    bench.args(["bench", "--package", "l3-remote", "--bench", "transfer"]);
    if let Some(script) = peer {
        let script = script.canonicalize()?;
        bench
            .env("SNAPTIER_BENCH_PEER", script)
            .env("SNAPTIER_BENCH_PYTHON", python);
    }
    let lines = lines(&mut bench)?;

    let mut rows = Vec::new();
    let mut bounds = Vec::new();
    for line in &lines {
        let server = line["server"].as_str().unwrap_or("zstd -3 -T2");
        if line.get("peer_upload_s").is_some() {
            for what in ["upload", "download"] {
                let theirs = &line[format!("peer_{what}_s")];
                rows.push((format!("{server}: the peer's {what}"), theirs));
                let ours = of(&lines, server, &format!("{what}_s"));
                bounds.push(at_least(
                    format!("{server}: the peer's {what} to ours"),
                    theirs.as_f64().unwrap_or(0.0) / ours,
                    2.0,
                ));
            }
        } else if line.get("round_trip_ms").is_some() {
            rows.push((format!("{server}, far: download"), &line["download_s"]));
            rows.push((format!("{server}, far: one stream"), &line["one_stream_s"]));
            let ratio = line["ratio"].as_f64().unwrap_or(0.0);
            bounds.push(at_least(
                format!("{server}, far: one stream to ours"),
                ratio,
                2.0,
            ));
        } else if line.get("upload_s").is_some() {
            for what in ["upload", "download"] {
                rows.push((format!("{server}: {what}"), &line[format!("{what}_s")]));
                let bound = &line[format!("{what}_bound_s")];
                rows.push((format!("{server}: {what}, bound"), bound));
                let ratio = line[format!("{what}_ratio")].as_f64().unwrap_or(0.0);
                bounds.push(at_least(
                    format!("{server}: the bound to our {what}"),
                    ratio,
                    0.8,
                ));
            }
            rows.push((format!("{server}: plain put"), &line["plain_put_s"]));
            rows.push((format!("{server}: plain get"), &line["plain_get_s"]));
        } else {
            print_setting(line);
        }
    }
    print_rows(
        ["TRANSFER", "SECONDS"],
        rows.iter().map(|(name, seconds)| {
            [
                name.clone(),
                format!("{:.2}", seconds.as_f64().unwrap_or(0.0)),
            ]
        }),
    );
    print_bounds(&bounds);
    Ok(())
}

fn of(lines: &[Value], server: &str, what: &str) -> f64 {
    let of_server = |line: &&Value| line["server"] == server && line.get(what).is_some();
    let line = lines.iter().find(of_server);
    line.and_then(|line| line[what].as_f64())
        .unwrap_or(f64::NAN)
}

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
fn print_setting(line: &Value) {
    println!(
        "\n{} bytes, in frames of {}, zstd level {}; {} bytes at once up, {} ahead down, at most {} workers; medians of {}\nzstd -3 -T2 takes {:.2} s and zstd -d {:.2} s",
        line["bytes"],
        line["frame_bytes"],
        line["level"],
        line["parts"].as_str().unwrap_or_default(),
        line["ranges"].as_str().unwrap_or_default(),
        line["most_workers"],
        line["runs"],
        line["zstd_compress_s"].as_f64().unwrap_or(0.0),
        line["zstd_decompress_s"].as_f64().unwrap_or(0.0),
    );
}

fn at_least(what: String, found: f64, least: f64) -> Bound {
    Bound {
        what,
        found,
        limit: super::Limit::AtLeast(least),
        unit: "",
    }
}
