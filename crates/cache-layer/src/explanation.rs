use std::fmt;

use cache_key::CanonicalSpec;

use crate::Near;

/// What a tier would answer to a request, and why, for people.
///
/// A tier that can tell has a method `explain` beside [`CacheLayer`](crate::CacheLayer), of its own type. It only looks:
/// nothing is fetched whole, kept, removed or marked as used. That the tier cannot look is an error, of the kind that
/// its `get` would give.
///
/// `Display` says why, in words without the name of the tier. Whether somebody changes the entry at this moment is not
/// told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Explanation {
    /// It would be a hit, because of this: a fragment such as "it is the file that was verified".
    Hit(String),
    /// There is nothing under the key. Whether there ever was cannot be told.
    Absent {
        /// An entry that is almost what is asked for, where one was found.
        near: Option<Near>,
    },
    /// What is under the key is of another request, whose key is the same by chance or by intent.
    OtherRequest(CanonicalSpec),
    /// The snapshot does not lie over the base image as this host has it; why, in a fragment.
    BackingFile(String),
    /// It is damaged, or was tampered with; how, in a fragment.
    Corrupt(String),
    /// It was written by a newer release, and is left for that one; what shows it, in a fragment.
    Newer(String),
    /// It says nothing about itself, and is not taken for what its name says.
    NoManifest,
}

impl Explanation {
    /// Whether it would be a hit.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::Hit(_))
    }

    /// A short name of why it would be a miss; `None` for a hit. One of `absent`, `other-base-image`, `other-release`,
    /// `other-packages`, `other-request`, `backing-file`, `corrupt`, `newer`, `no-manifest`.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Hit(_) => None,
            Self::Absent { near: None } => Some("absent"),
            Self::Absent { near: Some(near) } => Some(near.kinship.as_str()),
            Self::OtherRequest(_) => Some("other-request"),
            Self::BackingFile(_) => Some("backing-file"),
            Self::Corrupt(_) => Some("corrupt"),
            Self::Newer(_) => Some("newer"),
            Self::NoManifest => Some("no-manifest"),
        }
    }

    /// The entry that is almost what is asked for.
    #[must_use]
    pub fn near(&self) -> Option<&Near> {
        match self {
            Self::Absent { near } => near.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { near } => {
                f.write_str("nothing is there under this key: it was never put, or is gone again")?;
                near.iter().try_for_each(|near| write!(f, "; {near}"))
            }
            Self::OtherRequest(spec) => {
                let (packages, base) = (spec.packages(), spec.base_image());
                write!(f, "it is the snapshot of another request: ")?;
                match packages.is_empty() {
                    true => write!(f, "no packages over the base image {base}"),
                    false => write!(f, "`{packages}` over the base image {base}"),
                }
            }
            Self::Hit(why) | Self::BackingFile(why) | Self::Corrupt(why) | Self::Newer(why) => {
                f.write_str(why)
            }
            Self::NoManifest => {
                f.write_str("it has no manifest, and is not taken for what its name says")
            }
        }
    }
}
