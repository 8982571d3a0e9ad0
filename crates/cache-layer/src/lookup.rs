use crate::Snapshot;

/// What a layer answers when it could look.
#[derive(Debug, Clone)]
#[must_use = "a hit carries the snapshot, and pins it"]
pub enum Lookup {
    /// It is there, whole and checked, and is what was asked for: the caller need not look again.
    Hit(Snapshot),
    /// It is not there, or what is there is not what was asked for. That the layer could not look is an error.
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
