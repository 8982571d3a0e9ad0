use std::sync::Arc;
use std::time::Duration;

use cache_layer::CacheLayer;

use crate::BreakerSettings;

/// A layer at its place in the hierarchy: what is written to it, and how much patience there is with it.
#[derive(Debug, Clone)]
pub struct Tier {
    pub(crate) layer: Arc<dyn CacheLayer>,
    pub(crate) reach: Reach,
    pub(crate) writes: Writes,
    pub(crate) deadlines: Deadlines,
    pub(crate) breaker: Option<BreakerSettings>,
    pub(crate) hedge: Option<Duration>,
}

/// How far away a layer keeps what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In files of this host. It is written to before the answer, and asked by every caller for itself.
    Local,
    /// Elsewhere. It is written to in the background, and asked once for all who wait for the same
    /// snapshot. Snapshots without packages are no business of it: every host makes those from its own base
    /// image in no time.
    Remote,
}

/// What is written to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writes {
    /// What a layer below it had.
    pub fill: bool,
    /// What was built.
    pub publish: bool,
}

impl Writes {
    /// Everything.
    pub const ALL: Self = Self {
        fill: true,
        publish: true,
    };
    /// Nothing: a layer that others fill.
    pub const NONE: Self = Self {
        fill: false,
        publish: false,
    };
}

/// How long a call to a layer may take. What takes longer is cancelled, and counts as an error of its own kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// To look, and to bring the snapshot where the layer has to; `None` for as long as it takes.
    pub get: Option<Duration>,
    /// To store, waiting for a place among other uploads included; `None` for as long as it takes.
    pub put: Option<Duration>,
}

impl Deadlines {
    /// For as long as it takes.
    pub const NONE: Self = Self {
        get: None,
        put: None,
    };
}

const MINUTE: Duration = Duration::from_secs(60);

impl Tier {
    /// A layer that keeps its entries in files of this host, and everything that comes by.
    ///
    /// It has a minute to look, in which it may have to read a whole file, and ten to store. It has no breaker: its
    /// errors cost no time, and one bad entry is no reason to build what it has all the others of.
    #[must_use]
    pub fn local(layer: Arc<dyn CacheLayer>) -> Self {
        Self {
            layer,
            reach: Reach::Local,
            writes: Writes::ALL,
            deadlines: Deadlines {
                get: Some(MINUTE),
                put: Some(10 * MINUTE),
            },
            breaker: None,
            hedge: None,
        }
    }

    /// A layer that many hosts share, and that keeps everything that comes by.
    ///
    /// It has five minutes for a download, after which building is the better choice, and an hour for an upload, which
    /// nobody waits for. It has a breaker of the [default](BreakerSettings::default) settings, and no hedge.
    #[must_use]
    pub fn remote(layer: Arc<dyn CacheLayer>) -> Self {
        Self {
            layer,
            reach: Reach::Remote,
            writes: Writes::ALL,
            deadlines: Deadlines {
                get: Some(5 * MINUTE),
                put: Some(60 * MINUTE),
            },
            breaker: Some(BreakerSettings::default()),
            hedge: None,
        }
    }

    /// Writes to the layer only what `writes` says. What is not written to one layer goes into the others all
    /// the same.
    #[must_use]
    pub fn with_writes(self, writes: Writes) -> Self {
        Self { writes, ..self }
    }

    /// Waits for the layer no longer than `deadlines` say.
    #[must_use]
    pub fn with_deadlines(self, deadlines: Deadlines) -> Self {
        Self { deadlines, ..self }
    }

    /// Leaves the layer alone for a while when it does not answer; `None` for never.
    ///
    /// While it is left alone, gets go on to the next layer at once and count as skipped. The layer answers when it has,
    /// has not, refuses access, finds the entry's bytes wrong or has no room: whoever asks for something else next
    /// may well be served. It does not when it is [`Unavailable`](cache_layer::LayerErrorKind::Unavailable) or
    /// over its [deadline](Deadlines).
    ///
    /// Writes have a breaker of their own of the same settings, so that a full or read-only layer is read from. What is
    /// written in the background is written whatever the breakers say: nobody waits for it.
    #[must_use]
    pub fn with_breaker(self, breaker: Option<BreakerSettings>) -> Self {
        Self { breaker, ..self }
    }

    /// Begins to build when the layer takes longer than `hedge` to answer; `None` for never. What is there first
    /// is the answer, and the other is cancelled. If the build fails first, the layers' answer is waited for.
    ///
    /// Local tiers before the first remote one, which each caller asks for itself, are waited for in any case.
    #[must_use]
    pub fn with_hedge(self, hedge: Option<Duration>) -> Self {
        Self { hedge, ..self }
    }
}
