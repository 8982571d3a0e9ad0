use std::fmt;

use cache_layer::Snapshot;

/// A snapshot, and where it came from.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The snapshot, of the highest tier that has it now.
    pub snapshot: Snapshot,
    /// Who had it, or made it.
    pub source: Source,
    /// Whether a local tier keeps the file. If not, it lies in staging, and goes with the last clone of the
    /// snapshot.
    pub kept: bool,
}

/// Where a snapshot came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The tier of this name had it.
    Layer(&'static str),
    /// No tier had it, and it was built.
    Built,
}

impl Source {
    /// The tier's name, or `built`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer(name) => name,
            Self::Built => "built",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
