//! How far long work has come: bars where there is a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cache_layer::{Phase, ProgressEvent, ProgressSink, Subject};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::console::Console;

/// The work that is under way, by subject and phase.
type UnderWay<T> = Mutex<HashMap<(String, Phase), T>>;

fn locked<T>(under_way: &UnderWay<T>) -> MutexGuard<'_, HashMap<(String, Phase), T>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One line when a phase begins and one when it is over.
#[derive(Debug)]
pub(crate) struct Lines {
    console: Console,
    since: UnderWay<Instant>,
}

impl Lines {
    pub(crate) fn new(console: Console) -> Self {
        Self {
            console,
            since: UnderWay::default(),
        }
    }

    fn print(&self, line: fmt::Arguments<'_>) {
        let _ = writeln!(self.console.clone(), "{line}");
    }
}

impl ProgressSink for Lines {
    fn report(&self, subject: Subject<'_>, event: ProgressEvent<'_>) {
        match event {
            ProgressEvent::Started(phase) => {
                locked(&self.since).insert((subject.to_string(), phase), Instant::now());
                self.print(format_args!("{subject}: {phase}"));
            }
            ProgressEvent::Note(note) => self.print(format_args!("{subject}:   {note}")),
            ProgressEvent::InstallerLine(line) if line.trim().is_empty() => {}
            ProgressEvent::InstallerLine(line) => self.print(format_args!("{subject}: | {line}")),
            ProgressEvent::Finished(phase) => {
                let since = locked(&self.since).remove(&(subject.to_string(), phase));
                let took = since.map_or(Duration::ZERO, |since| since.elapsed());
                self.print(format_args!("{subject}: {phase} took {}", Took(took)));
            }
            // Bytes would be a flood; retries and a slow accelerator are warned of by whoever finds them.
            _ => {}
        }
    }
}

/// A spinner or a bar for each phase under way, and a line for each that is over.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    under_way: UnderWay<ProgressBar>,
}

const TICK: Duration = Duration::from_millis(100);
const SPINNER: &str = "{spinner} {prefix:10} {elapsed:>4}  {wide_msg}";
const BAR: &str =
    "{spinner} {prefix:10} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

impl Bars {
    pub(crate) fn new(all: MultiProgress) -> Self {
        Self {
            all,
            under_way: UnderWay::default(),
        }
    }
}

/// A style of ours, which parses.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl ProgressSink for Bars {
    fn report(&self, subject: Subject<'_>, event: ProgressEvent<'_>) {
        let name = subject.to_string();
        let mut under_way = locked(&self.under_way);
        match event {
            ProgressEvent::Started(phase) => {
                let bar = self.all.add(ProgressBar::new_spinner());
                bar.set_style(style(SPINNER));
                bar.set_prefix(phase.as_str());
                bar.set_message(name.clone());
                bar.enable_steady_tick(TICK);
                under_way.insert((name, phase), bar);
            }
            ProgressEvent::Bytes { phase, done, total } => {
                if let Some(bar) = under_way.get(&(name, phase)) {
                    if bar.length().is_none() && total.is_some() {
                        bar.set_style(style(BAR));
                    }
                    bar.set_length(total.unwrap_or(done));
                    bar.set_position(done);
                }
            }
            ProgressEvent::Note(note) | ProgressEvent::InstallerLine(note)
                if !note.trim().is_empty() =>
            {
                for ((subject, _), bar) in under_way.iter() {
                    if *subject == name {
                        bar.set_message(note.to_owned());
                    }
                }
            }
            ProgressEvent::Finished(phase) => {
                if let Some(bar) = under_way.remove(&(name.clone(), phase)) {
                    let took = Took(bar.elapsed());
                    bar.finish_and_clear();
                    let line = format!("✓ {:10} {took:>7}  {name}", phase.as_str());
                    let _ = self.all.println(line);
                }
            }
            _ => {}
        }
    }
}

/// A duration for people: `3.1 ms`, `12.1 s`.
pub(crate) struct Took(pub(crate) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 0.1 {
            f.pad(&format!("{:.1} ms", seconds * 1e3))
        } else {
            f.pad(&format!("{seconds:.1} s"))
        }
    }
}
