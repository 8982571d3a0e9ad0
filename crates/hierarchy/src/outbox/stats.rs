use crate::counters::Counter;

/// What became of uploads since the outbox was opened, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Uploads that were written down.
    pub added: u64,
    /// Tries of an upload that failed before, or that another process left.
    pub resumed: u64,
    /// Uploads that the remote layer has stored.
    pub delivered: u64,
    /// Dropped because no local layer has the snapshot any more.
    pub dropped_gone: u64,
    /// Dropped because they failed too often, for too long, or can never succeed.
    pub dropped_failed: u64,
    /// Dropped to make room for others.
    pub dropped_no_room: u64,
    /// Entries that were damaged and set aside.
    pub set_aside: u64,
}

/// Why an upload is not made any more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dropped {
    Gone,
    Failed,
    NoRoom,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    added: Counter,
    resumed: Counter,
    delivered: Counter,
    gone: Counter,
    failed: Counter,
    no_room: Counter,
    set_aside: Counter,
}

impl Counters {
    pub(super) fn added(&self) {
        self.added.add(1);
    }

    pub(super) fn resumed(&self) {
        self.resumed.add(1);
    }

    pub(super) fn delivered(&self) {
        self.delivered.add(1);
    }

    pub(super) fn set_aside(&self) {
        self.set_aside.add(1);
    }

    pub(super) fn dropped(&self, why: Dropped) {
        match why {
            Dropped::Gone => self.gone.add(1),
            Dropped::Failed => self.failed.add(1),
            Dropped::NoRoom => self.no_room.add(1),
        }
    }

    pub(super) fn read(&self) -> OutboxStats {
        OutboxStats {
            added: self.added.read(),
            resumed: self.resumed.read(),
            delivered: self.delivered.read(),
            dropped_gone: self.gone.read(),
            dropped_failed: self.failed.read(),
            dropped_no_room: self.no_room.read(),
            set_aside: self.set_aside.read(),
        }
    }
}
