use std::fmt::{Debug, Display};

use async_trait::async_trait;
use cache_key::{CacheKey, SnapshotSpec};

use crate::{LayerError, Lookup, Snapshot, Staging};

/// One tier of the cache.
///
/// `Display` names the tier and where it keeps things (`l2-disk(/var/cache/snaptier)`), in one line, so that a log
/// line shows the whole stack. It must not print credentials.
///
/// # Behavior
///
/// This holds for every method:
///
/// - **Concurrency.** Any number of tasks call it at once, for the same key too, and so do other processes where the
///   tier is shared with them. None fails for that reason, but for [`remove`](Self::remove) of what is in use.
/// - **Order.** When a method has answered, whoever asks afterwards sees what it did: a `put` is a hit, a `remove` is a
///   miss, in this process, in one that opens the tier again, and after a crash. Of calls that overlap, either may be
///   the last.
/// - **Cancelling** (dropping the future) is allowed wherever a method waits. It leaves the whole entry or none, nothing
///   in staging and no lock. Work on another thread may go on to its end, as if it had not been cancelled, and is
///   then over.
/// - **A process may die** in the midst of a method. Whoever opens the tier next finds the whole entry or none, and
///   can put and remove it.
/// - **It does not block** the thread for longer than a few system calls on what is likely in memory:
///   [`blocking`](crate::blocking()) is for the rest.
/// - **An error says nothing about the entry**, unless its kind does. The same call may be made again.
///
/// The crate `cache-layer-testkit` tries what of it shows from outside.
#[async_trait]
pub trait CacheLayer: Debug + Display + Send + Sync {
    /// The tier's short, stable name: `l2-disk`, `l3-remote`. It is what an answer gives as its
    /// source, and the label of the tier's statistics.
    ///
    /// # Behavior
    ///
    /// - Always the same, for all layers of one type; made of lower-case letters, digits and hyphens.
    /// - A part of what `Display` prints.
    fn name(&self) -> &'static str;

    /// Looks for the snapshot of `spec`.
    ///
    /// # Behavior
    ///
    /// - A hit is a snapshot in local files, whole and checked, whose manifest's spec equals the
    ///   canonical form of `spec` and whose backing file is `spec`'s base image on this host. Its bytes are those of
    ///   its own manifest. Where the tier has changed the backing file's name, that is the only difference from
    ///   what was put.
    /// - A key that is there with another spec in its manifest is a miss: a key names, it does not prove.
    /// - A layer that has to bring the bytes from elsewhere makes them in `staging`, and the snapshot
    ///   keeps the staged file alive. A local layer ignores `staging` and answers with its own files.
    /// - A hit can be read for as long as a clone of it is held, whatever becomes of the entry.
    /// - Not being there is [`Lookup::Miss`]. A missing credential, a refused access or a server that
    ///   does not answer is an error, never a miss.
    /// - A damaged entry that the layer can remove is removed, with a warning, and is a miss; or it is
    ///   [`Corrupt`](crate::LayerErrorKind::Corrupt). It is never a hit, and does not stand in the way of the next `put`.
    /// - Atomic: beside a `put` or a `remove` of the same entry it is a hit on the whole of it, or a miss.
    /// - Idempotent: it changes nothing but what is damaged, and when an entry was last used.
    /// - Cancelling leaves nothing half-made that a later `get` could find, and nothing in `staging`.
    ///
    /// # Errors
    ///
    /// The tier cannot be reached ([`Unavailable`](crate::LayerErrorKind::Unavailable)) or refuses access
    /// ([`Denied`](crate::LayerErrorKind::Denied)); what is there is damaged ([`Corrupt`](crate::LayerErrorKind::Corrupt));
    /// `staging` is full ([`OutOfSpace`](crate::LayerErrorKind::OutOfSpace)).
    async fn get(&self, spec: &SnapshotSpec, staging: &Staging) -> Result<Lookup, LayerError>;

    /// Stores `snapshot` under its key and says where it now lives.
    ///
    /// # Behavior
    ///
    /// - Atomic: a concurrent `get` sees it whole, or not at all.
    /// - Idempotent: storing what is already there succeeds. A sound entry of the same spec may stay as it is, with
    ///   other bytes than `snapshot`'s. An entry of another spec under the same key may stay or be replaced.
    /// - `snapshot`'s own file is left as it is. When it is staged and on the layer's file system it
    ///   may be linked rather than copied, so nobody may write to it afterwards. Any other file is its owner's: once
    ///   this has answered it may be changed or removed.
    /// - What comes back can be used like a hit. A layer of local files answers with what is there, and a layer whose
    ///   entries are not local files returns `snapshot` unchanged.
    /// - A file whose bytes are not those of its manifest is refused, or else found out by `get`.
    /// - Concurrent `put`s of one key all succeed; one of their snapshots, whole, is what is there.
    /// - Cancelling leaves either the whole entry or none.
    ///
    /// # Errors
    ///
    /// The tier cannot be reached, or the file cannot be read ([`Unavailable`](crate::LayerErrorKind::Unavailable)); it
    /// takes nothing from us ([`Denied`](crate::LayerErrorKind::Denied)), or has no room
    /// ([`OutOfSpace`](crate::LayerErrorKind::OutOfSpace)); the file is not what its manifest says, or no snapshot at all
    /// ([`Corrupt`](crate::LayerErrorKind::Corrupt)). An entry that was there before may still be there.
    async fn put(&self, snapshot: &Snapshot) -> Result<Snapshot, LayerError>;

    /// Removes what is stored under `key`, whatever spec it is of.
    ///
    /// # Behavior
    ///
    /// - Idempotent: removing what is not there succeeds.
    /// - Atomic: a concurrent `get` sees the whole entry, or none.
    /// - No other entry changes.
    /// - A layer that hands out its own files refuses one that is in use, as
    ///   [`Unavailable`](crate::LayerErrorKind::Unavailable) for a time, and leaves it as it is. Any other layer removes the
    ///   entry, and what it has handed out stays.
    /// - It can be put again at once.
    /// - Cancelling leaves either the whole entry or none.
    ///
    /// # Errors
    ///
    /// The entry is in use, or the tier cannot be reached ([`Unavailable`](crate::LayerErrorKind::Unavailable)); we may not
    /// remove it ([`Denied`](crate::LayerErrorKind::Denied)). What is to be removed may be there still.
    async fn remove(&self, key: &CacheKey) -> Result<(), LayerError>;
}
