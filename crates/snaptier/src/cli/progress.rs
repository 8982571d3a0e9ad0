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

/// How a phase ended.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Well,
    Badly,
}

impl Ending {
    /// The phase that is over with this event, if one is.
    fn of(event: ProgressEvent<'_>) -> Option<(Phase, Self)> {
        match event {
            ProgressEvent::Finished(phase) => Some((phase, Self::Well)),
            ProgressEvent::Failed(phase) => Some((phase, Self::Badly)),
            _ => None,
        }
    }

    fn in_a_line(self, phase: Phase, took: Duration, subject: &str) -> String {
        let took = Took(took);
        match self {
            Self::Well => format!("{subject}: {phase} took {took}"),
            Self::Badly => format!("{subject}: {phase} failed after {took}"),
        }
    }

    /// The same in columns, for a terminal.
    fn in_columns(self, phase: Phase, took: Duration, subject: &str) -> String {
        let mark = match self {
            Self::Well => '✓',
            Self::Badly => '✗',
        };
        let (phase, took) = (phase.as_str(), Took(took));
        format!("{mark} {phase:10} {took:>7}  {subject}")
    }
}

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
        let name = subject.to_string();
        if let Some((phase, ending)) = Ending::of(event) {
            let since = locked(&self.since).remove(&(name.clone(), phase));
            let took = since.map_or(Duration::ZERO, |since| since.elapsed());
            self.print(format_args!("{}", ending.in_a_line(phase, took, &name)));
            return;
        }
        match event {
            ProgressEvent::Started(phase) => {
                locked(&self.since).insert((name, phase), Instant::now());
                self.print(format_args!("{subject}: {phase}"));
            }
            ProgressEvent::Note(note) => self.print(format_args!("{subject}:   {note}")),
            ProgressEvent::InstallerLine(line) if line.trim().is_empty() => {}
            ProgressEvent::InstallerLine(line) => self.print(format_args!("{subject}: | {line}")),
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
        if let Some((phase, ending)) = Ending::of(event) {
            if let Some(bar) = under_way.remove(&(name.clone(), phase)) {
                let took = bar.elapsed();
                bar.finish_and_clear();
                let _ = self.all.println(ending.in_columns(phase, took, &name));
            }
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_failed_looks_otherwise_than_one_that_did_its_work() {
        let took = Duration::from_millis(3800);
        let told = |event| {
            let (phase, ending) = Ending::of(event).unwrap();
            (
                ending.in_a_line(phase, took, "python"),
                ending.in_columns(phase, took, "python"),
            )
        };
        let (line, columns) = told(ProgressEvent::Finished(Phase::Install));
        assert_eq!(line, "python: install took 3.8 s");
        assert_eq!(columns, "✓ install      3.8 s  python");
        let (line, columns) = told(ProgressEvent::Failed(Phase::Install));
        assert_eq!(line, "python: install failed after 3.8 s");
        assert_eq!(columns, "✗ install      3.8 s  python");
        assert!(Ending::of(ProgressEvent::Started(Phase::Install)).is_none());
    }
}
