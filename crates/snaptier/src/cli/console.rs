//! The terminal: answers on standard output, and nothing else there; everything for people on standard error.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use anstream::AutoStream;
use cache_layer::{NoProgress, ProgressSink};
use indicatif::MultiProgress;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::args::Global;
use super::failure::Failure;
use super::progress::{Bars, Lines};

#[derive(Debug, Clone)]
pub(crate) struct Console {
    json: bool,
    quiet: bool,
    /// Every line on standard error is written around these, when there are any.
    bars: Option<MultiProgress>,
}

impl Console {
    pub(crate) fn new(global: &Global) -> Self {
        let draws = io::stderr().is_terminal() && !global.quiet && !global.json;
        Self {
            json: global.json,
            quiet: global.quiet,
            bars: draws.then(MultiProgress::new),
        }
    }

    /// Sends the logs of all crates here.
    pub(crate) fn log(&self, global: &Global) {
        let level = match (global.quiet, global.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "info",
            (false, _) => "debug",
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(self.clone())
            .with_ansi(io::stderr().is_terminal())
            .without_time()
            .with_target(global.verbose > 1)
            .init();
    }

    /// Where work reports its progress.
    pub(crate) fn progress(&self) -> Arc<dyn ProgressSink> {
        match &self.bars {
            Some(bars) => Arc::new(Bars::new(bars.clone())),
            None if self.quiet => Arc::new(NoProgress),
            None => Arc::new(Lines::new(self.clone())),
        }
    }

    /// Prints the answer: `text`, or `json` where that is wanted.
    pub(crate) fn answer(&self, text: &str, json: &impl Serialize) -> io::Result<()> {
        let line = if self.json {
            serde_json::to_string(json)?
        } else {
            text.to_owned()
        };
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }

    /// Tells people something.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            self.print(line);
        }
    }

    pub(crate) fn fail(&self, failure: &Failure) {
        if self.json {
            self.print(&failure.json());
        } else {
            self.print(&failure.text());
        }
    }

    fn print(&self, line: &str) {
        // Nobody is left to be told that standard error is closed.
        let _ = self.clone().write_all(format!("{line}\n").as_bytes());
    }
}

impl Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || AutoStream::auto(io::stderr()).write_all(bytes);
        match &self.bars {
            Some(bars) => bars.suspend(write)?,
            None => write()?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Console {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
