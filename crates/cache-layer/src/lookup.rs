use crate::Snapshot;

/// What a layer answers when it could look.
#[derive(Debug, Clone)]
#[must_use = "a hit carries the snapshot, and pins it"]
pub enum Lookup {
    /// It is there, whole and checked.
    Hit(Snapshot),
    /// It is not there, or what is there is not what was asked for.
    Miss,
}

impl Lookup {
    /// The snapshot of a hit.
    #[must_use]
    pub fn hit(self) -> Option<Snapshot> {
        match self {
            Self::Hit(snapshot) => Some(snapshot),
            Self::Miss => None,
        }
    }

    /// Whether it is a hit.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::Hit(_))
    }
}
