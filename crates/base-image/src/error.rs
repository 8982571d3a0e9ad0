use std::io;
use std::path::PathBuf;

use cache_key::{ImageDigest, Language};
use qcow2_header::Qcow2Error;
use thiserror::Error;

use crate::ImageChoice;
use crate::blame::blame;

/// Why there is no base image to be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Nobody has written down how to make one.
    #[error("make a {language} base image: this release has no recipe for one")]
    NoRecipe {
        /// The language asked for.
        language: Language,
    },
    /// There is no kernel package for this processor.
    #[error(
        "make a base image for {architecture}: no kernel is known for it, only for x86_64 and aarch64"
    )]
    NoKernel {
        /// The processor's architecture.
        architecture: &'static str,
    },
    /// A program that is needed is not on this host.
    #[error("`{program}` is not installed: install the package {package} (Debian, Ubuntu)")]
    MissingTool {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program failed; [`output`](Self::output) is the last that it said, and [`kind`](Self::kind) what that
    /// comes down to.
    #[error("{what}: `{program}` failed with {status}")]
    ToolFailed {
        /// What it was to do.
        what: &'static str,
        /// The program.
        program: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// Its last lines.
        output: String,
    },
    /// A disk that was to be imported is none that can be a base image.
    #[error("import the disk `{}`: {fault}: {remedy}", path.display())]
    ForeignDisk {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
        /// What can be done.
        remedy: String,
    },
    /// Another file that was to be imported is not what it is said to be.
    #[error("import the {what} `{}`: {fault}", path.display())]
    ForeignFile {
        /// What it was named as.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// A disk that was to be imported could not be looked at; that need not be its own doing.
    #[error("check the disk `{}`", path.display())]
    Unchecked {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Qcow2Error,
    },
    /// There is no such image as was chosen.
    #[error(
        "find the {language} image `{choice}` in `{}`: `snaptier image ls` lists those that there are", dir.display()
    )]
    NoSuchImage {
        /// The language asked for.
        language: Language,
        /// What the digest was to begin with.
        choice: ImageChoice,
        /// Where the images are.
        dir: PathBuf,
    },
    /// The disk of an image is no longer what it was.
    #[error(
        "the disk `{}` has changed since the image was made ({found} instead of {expected}): remove the image's folder and make it again", path.display()
    )]
    Changed {
        /// The disk.
        path: PathBuf,
        /// The digest that it had.
        expected: ImageDigest,
        /// The digest that it has.
        found: ImageDigest,
    },
    /// A folder's `image.json` cannot be used.
    #[error("read `{}`", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ManifestFault,
    },
    /// The file system would not.
    #[error("{what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// What the caller should do about an [`ImageError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageErrorKind {
    /// What was asked for cannot be had; ask for something else.
    Request,
    /// The network failed; the same request may succeed later.
    Temporary,
    /// This host lacks a program, a permission, or room, or has a damaged image. See to it first.
    Host,
    /// A defect in the making of images.
    Internal,
}

/// What is wrong with an `image.json`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ManifestFault {
    /// It was written by a newer release.
    #[error("image format {0} is newer than this release knows: upgrade snaptier")]
    Newer(u32),
    /// It is not an image's JSON.
    #[error("it is not an image manifest")]
    Malformed(#[source] serde_json::Error),
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
}

impl ImageError {
    /// What the caller should do.
    #[must_use]
    pub fn kind(&self) -> ImageErrorKind {
        match self {
            Self::NoRecipe { .. }
            | Self::ForeignDisk { .. }
            | Self::ForeignFile { .. }
            | Self::NoSuchImage { .. } => ImageErrorKind::Request,
            Self::ToolFailed { output, .. } => blame(output).kind,
            Self::NoKernel { .. }
            | Self::MissingTool { .. }
            | Self::Unchecked { .. }
            | Self::Changed { .. }
            | Self::Manifest { .. }
            | Self::Io { .. } => ImageErrorKind::Host,
        }
    }

    /// What helps against a program's failure, where what it said tells that; other errors say it themselves.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::ToolFailed { output, .. } => blame(output).remedy,
            _ => None,
        }
    }

    /// The last that a failed program said.
    #[must_use]
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::ToolFailed { output, .. } => Some(output),
            _ => None,
        }
    }

    /// An I/O error with what was tried, for `map_err`.
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
