//! What went wrong, in one line, and what to do about it.

use std::error::Error as StdError;
use std::io;

use base_image::{ImageError, ImageErrorKind};
use cache_key::{PackageError, ParseCacheKeyError, ParseLanguageError};
use cache_layer::{BuildError, BuildErrorKind, LayerError, LayerErrorKind};
use hierarchy::GetError;
use l3_remote::LocationError;
use serde::Serialize;
use snaptier::{Error, ImportError, OpenError, SettingsError};
use vm_builder::InspectError;
use vm_builder::network::PackageIndexError;

use super::exit::Exit;

/// The end of a command that did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    /// What another program said about it.
    output: Option<String>,
    hint: Option<String>,
}

#[derive(Serialize)]
struct Json<'a> {
    error: &'a str,
    output: Option<&'a str>,
    hint: Option<&'a str>,
    exit_code: u8,
}

impl Failure {
    /// A failure of `error` and what caused it.
    pub(crate) fn new(exit: Exit, error: &(dyn StdError + 'static)) -> Self {
        Self {
            exit,
            message: chain(error),
            output: None,
            hint: None,
        }
    }

    pub(crate) fn of_text(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            output: None,
            hint: None,
        }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn with_output(mut self, output: Option<&str>) -> Self {
        self.output = output.map(|output| output.trim_end().to_owned());
        self
    }

    /// What another program said, then the message, then the hint.
    pub(crate) fn text(&self) -> String {
        let output = self.output.iter().map(|output| format!("{output}\n"));
        let message = format!("error: {}", self.message);
        let hint = self.hint.iter().map(|hint| format!("\nhint: {hint}"));
        output.chain([message]).chain(hint).collect()
    }

    pub(crate) fn json(&self) -> String {
        let json = Json {
            error: &self.message,
            output: self.output.as_deref(),
            hint: self.hint.as_deref(),
            exit_code: self.exit as u8,
        };
        serde_json::to_string(&json).unwrap_or_else(|_| self.text())
    }
}

/// An error and its causes, each once, in one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some print their cause themselves.
        if !message.ends_with(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message.replace('\n', " ")
}

impl From<ParseLanguageError> for Failure {
    fn from(error: ParseLanguageError) -> Self {
        Self::new(Exit::Request, &error)
    }
}

impl From<PackageError> for Failure {
    fn from(error: PackageError) -> Self {
        Self::new(Exit::Request, &error)
    }
}

impl From<ParseCacheKeyError> for Failure {
    fn from(error: ParseCacheKeyError) -> Self {
        Self::new(Exit::Request, &error).with_hint("`snaptier ls` lists the keys that there are")
    }
}

impl From<LayerError> for Failure {
    fn from(error: LayerError) -> Self {
        let exit = match error.kind() {
            LayerErrorKind::Unavailable { temporary: true } => Exit::Temporary,
            LayerErrorKind::Unavailable { temporary: false }
            | LayerErrorKind::Denied
            | LayerErrorKind::OutOfSpace => Exit::Host,
            _ => Exit::Failed,
        };
        Self::new(exit, &error)
    }
}

impl From<LocationError> for Failure {
    fn from(error: LocationError) -> Self {
        Self::new(Exit::Request, &error)
    }
}

impl From<PackageIndexError> for Failure {
    fn from(error: PackageIndexError) -> Self {
        Self::new(Exit::Request, &error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Request, &error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let failure = Self::new(Exit::Host, &error);
        match error {
            OpenError::Settings(error) => error.into(),
            OpenError::Location(error) => error.into(),
            OpenError::CacheDir { .. } => {
                failure.with_hint("name another one with --cache-dir or SNAPTIER_CACHE_DIR")
            }
            _ => failure,
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let exit = match error.kind() {
            ImageErrorKind::Request => Exit::Request,
            ImageErrorKind::Temporary => Exit::Temporary,
            ImageErrorKind::Host => Exit::Host,
            _ => Exit::Failed,
        };
        let failure = Self::new(exit, &error).with_output(error.output());
        match error.remedy() {
            Some(remedy) => failure.with_hint(remedy),
            None => failure,
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let guest = match error {
            ImportError::Image(error) => return error.into(),
            ImportError::Guest(InspectError::Host(error)) => return error.into(),
            ImportError::Guest(error) => error,
            error => return Self::new(Exit::Failed, &error),
        };
        let failure = Self::new(Exit::Request, &guest).with_output(guest.output());
        match guest.remedy() {
            Some(remedy) => failure.with_hint(remedy),
            None => failure,
        }
    }
}

impl From<&BuildError> for Failure {
    fn from(error: &BuildError) -> Self {
        let exit = match error.kind() {
            BuildErrorKind::Packages => Exit::Packages,
            BuildErrorKind::Temporary => Exit::Temporary,
            BuildErrorKind::Host => Exit::Host,
            _ => Exit::Failed,
        };
        Self::new(exit, error).with_output(error.output())
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::from(&error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Image(error) => error.into(),
            Error::Get(GetError::Build(error)) => error.as_ref().into(),
            Error::Get(error @ GetError::Lock { .. }) => Self::new(Exit::Host, &error)
                .with_hint("name a cache directory that can be written to with --cache-dir"),
            error => Self::new(Exit::Failed, &error),
        }
    }
}

/// An answer that could not be printed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Failed, &error)
    }
}
