use std::io;

use thiserror::Error;

use crate::BoxError;

/// Why a layer could not look, store or remove.
///
/// `Display` is a lower-case fragment that fits "failed to …" and leaves the source out; a caller that
/// wants the whole story walks [`source`](std::error::Error::source).
#[derive(Debug, Error)]
#[error("{context}")]
pub struct LayerError {
    kind: LayerErrorKind,
    context: String,
    source: Option<BoxError>,
}

/// What the caller of a layer should do about its error.
///
/// # Behavior
///
/// - A layer's error concerns that layer alone: whoever has others goes on with them.
/// - Only `Unavailable` with `temporary`, and `OutOfSpace` once there is room, are worth the same call again.
/// - After `Corrupt` the entry is no longer in the way: the next `put` stores a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerErrorKind {
    /// The tier cannot be reached. `temporary` says whether trying again later makes sense (a time-out,
    /// a server's 5xx) or somebody has to set it up first (no such bucket, not configured).
    Unavailable {
        /// Whether the same call can succeed later with nothing changed.
        temporary: bool,
    },
    /// Access was refused: fix credentials or permissions.
    Denied,
    /// The entry's bytes are wrong; the layer has removed it or set it aside. From `put`: the snapshot's own bytes are
    /// wrong, and nothing was stored.
    Corrupt,
    /// There is no room for the entry here.
    OutOfSpace,
    /// The caller asked for something that makes no sense: a bug on its side.
    Invalid,
}

impl LayerError {
    /// An error with no cause below it. `context` fits "failed to …".
    pub fn new(kind: LayerErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An I/O error of the local file system, told apart by what the caller can do about it.
    pub fn from_io(context: impl Into<String>, source: io::Error) -> Self {
        Self::new(LayerErrorKind::of_io(&source), context).with_source(source)
    }

    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> LayerErrorKind {
        self.kind
    }
}

impl LayerErrorKind {
    /// A short name for logs and statistics: `unavailable`, `denied`, `corrupt`, `out-of-space`, `invalid`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Denied => "denied",
            Self::Corrupt => "corrupt",
            Self::OutOfSpace => "out-of-space",
            Self::Invalid => "invalid",
        }
    }

    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::OutOfSpace,
            io::ErrorKind::TimedOut | io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy => {
                Self::Unavailable { temporary: true }
            }
            _ => Self::Unavailable { temporary: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn io_errors_are_told_apart_by_what_the_caller_can_do() {
        for (io, kind) in [
            (io::ErrorKind::PermissionDenied, LayerErrorKind::Denied),
            (io::ErrorKind::ReadOnlyFilesystem, LayerErrorKind::Denied),
            (io::ErrorKind::StorageFull, LayerErrorKind::OutOfSpace),
            (
                io::ErrorKind::TimedOut,
                LayerErrorKind::Unavailable { temporary: true },
            ),
            (
                io::ErrorKind::NotADirectory,
                LayerErrorKind::Unavailable { temporary: false },
            ),
        ] {
            assert_eq!(
                LayerError::from_io("x", io::Error::from(io)).kind(),
                kind,
                "{io:?}"
            );
        }
    }

    #[test]
    fn display_leaves_the_source_out_and_keeps_it_reachable() {
        let error = LayerError::from_io("open `x`", io::Error::other("the disk is on fire"));
        assert_eq!(error.to_string(), "open `x`");
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("the disk is on fire")
        );
    }
}
