use thiserror::Error;

use crate::BoxError;

/// Why a snapshot could not be built.
///
/// `Display` is a lower-case fragment that fits "failed to …"; [`output`](Self::output) is what the
/// installer or the guest's console said last.
#[derive(Debug, Error)]
#[error("{context}")]
pub struct BuildError {
    kind: BuildErrorKind,
    context: String,
    output: Option<String>,
    source: Option<BoxError>,
}

/// What the caller of a builder should do about its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// The packages cannot be installed: no such version, no build for this platform, a conflict.
    /// Asking again gives the same answer; change the request.
    Packages,
    /// The network, the guest or the VM failed; the same request may succeed later.
    Temporary,
    /// This host cannot build: a program, an image or a permission is missing. Set it up first.
    Host,
    /// A defect in the builder itself.
    Internal,
}

impl BuildError {
    /// An error with no cause below it. `context` fits "failed to …".
    pub fn new(kind: BuildErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            output: None,
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the last lines of the installer or the console.
    #[must_use]
    pub fn with_output(mut self, output: impl Into<String>) -> Self {
        self.output = Some(output.into()).filter(|text: &String| !text.trim().is_empty());
        self
    }

    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> BuildErrorKind {
        self.kind
    }

    /// The last lines of the installer or the console, if there were any.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        self.output.as_deref()
    }
}
