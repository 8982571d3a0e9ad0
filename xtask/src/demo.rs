//! The main job, with its times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cargo_metadata::camino::Utf8PathBuf;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::Done;
use crate::cargo::{build_snaptier, metadata, run};

const REQUEST: [&str; 2] = ["python", "requests==2.32.3"];

/// The command, with a cache and a remote store of its own and the base images of whoever runs it.
struct Demo {
    program: Utf8PathBuf,
    dir: PathBuf,
}

#[expect(clippy::print_stdout, reason = "it is what a command line is for")]
pub(crate) fn demo() -> Done {
    let demo = Demo {
        program: build_snaptier()?,
        dir: metadata()?.target_directory.join("demo").into(),
    };
    if demo.dir.exists() {
        fs::remove_dir_all(&demo.dir)?;
    }
    run(demo
        .snaptier(&["image", "build", REQUEST[0]])
        .stdout(Stdio::null()))?;

    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_header(["REQUEST", "ANSWERED BY", "TIME"]);
    let mut ask = |what: &str| -> Done {
        let (source, took) = demo.get()?;
        table.add_row([what, &source, &text(took)]);
        Ok(())
    };
    ask("for the first time")?;
    ask("again")?;
    fs::remove_dir_all(demo.cache())?;
    ask("after the local copy was removed")?;
    if let Some(times) = table.column_mut(2) {
        times.set_cell_alignment(CellAlignment::Right);
    }

    let print_version = "import requests; print(requests.__version__)";
    let mut command = demo.snaptier(&[
        "run",
        REQUEST[0],
        REQUEST[1],
        "--",
        "python3",
        "-c",
        print_version,
    ]);
    let version = output(&mut command)?;
    println!("\n snaptier get {}\n", REQUEST.join(" "));
    println!("{}\n", table.trim_fmt());
    println!(
        " python3 -c '{print_version}', in a VM on top of it: {}",
        version.trim()
    );
    Ok(())
}

impl Demo {
    fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    fn snaptier(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("SNAPTIER_CACHE_DIR", self.cache())
            .env("SNAPTIER_REMOTE", remote(&self.dir));
        command
    }

    /// Who answered the request, and how long the whole command took.
    fn get(&self) -> Result<(String, Duration), Box<dyn std::error::Error>> {
        let began = Instant::now();
        let answer = output(&mut self.snaptier(&["get", REQUEST[0], REQUEST[1], "--json"]))?;
        let took = began.elapsed();
        let answer: Value = serde_json::from_str(&answer)?;
        let source = answer["source"]
            .as_str()
            .ok_or("an answer without a source")?;
        Ok((source.to_owned(), took))
    }
}

fn remote(dir: &Path) -> String {
    format!("file://{}", dir.join("remote").display())
}

/// What a command that succeeds prints; its progress goes to the terminal.
fn output(command: &mut Command) -> Result<String, Box<dyn std::error::Error>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("snaptier failed with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn text(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}
