//! The log of a store: the entries and hard states of all its groups, behind one trait.
//!
//! 1. The log writer fills a [`LogBatch`] with what every ready group wants to keep.
//! 2. [`LogEngine::write`] makes the batch durable: one atomic write, one sync. When it returns, all of it will be
//!    there after a crash; when the process dies before, all of it or nothing is.
//! 3. The group's raft storage reads entries back with [`LogEngine::entries`] (recovery, later slow followers).
//! 4. The head of a group's log is cut by a [`LogBatch::truncate`] in a later batch.
//!
//! [`rocks`] is what runs; [`memory`] forgets what was not synced, for tests and simulation.

use std::sync::Arc;

use partita_partition::descriptor::GroupId;
use raft::eraftpb::{Entry, HardState};
use serde::{Deserialize, Serialize};

use crate::members::{Members, ReplicaId};

mod mark;
pub mod memory;
pub mod rocks;
mod row;

/// Why the log could not do what it was asked for. After a failed write nothing is known about what is on disk.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The engine failed: I/O, a full disk, a lost volume.
    #[error("log: {0}")]
    Engine(String),
    /// A stored row fails its check.
    #[error("log: corrupt {what} of group {group}: {reason}")]
    Corrupt {
        /// Which row.
        what: &'static str,
        /// Whose.
        group: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Records that had been synced cannot be read any more.
    #[error(
        "log: it ends at record {found}, but had been synced up to {reached}: one of these files is damaged, and what \
         it held after that was acknowledged: {files:?}; restore the folder from a copy"
    )]
    CutShort {
        /// The last readable record.
        found: u64,
        /// The last one that is known to have been synced.
        reached: u64,
        /// Where the damage is.
        files: Vec<std::path::PathBuf>,
    },
    /// An entry that should be there is not.
    #[error("log: group {group} has no entry {index}")]
    Missing {
        /// The group.
        group: u64,
        /// The entry's index.
        index: u64,
    },
    /// A row was written by a newer version of the software.
    #[error("log: {what} of group {group} has format {version}, which is newer than this software")]
    Newer {
        /// Which row.
        what: &'static str,
        /// Whose.
        group: u64,
        /// Its format.
        version: u8,
    },
}

/// What a store knows of a group besides its log: how it was born here and whether it was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its place in the order in which the store's groups were born: none comes before its parent.
    pub born: u64,
    /// This store's replica of the group: from the group's counter, never used again. Of a destroyed one it is the
    /// highest there ever was here.
    pub replica: ReplicaId,
    /// The members at birth; empty for a replica that was added to a group, until its first snapshot.
    pub members: Members,
    /// Where its log began: a group that is born on several stores begins behind an entry that nobody has, so that
    /// whoever is added later needs a snapshot.
    pub start: Truncated,
    /// What the group was born with, in the partition's encoding.
    pub descriptor: Vec<u8>,
    /// Where its life stands.
    pub life: Life,
    /// The split that it was born by; `None` for a group that was made, or a replica that was added.
    pub parent: Option<Parent>,
}

/// The entry of another group's log by which a group was born, or absorbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The other group.
    pub group: GroupId,
    /// The entry's index.
    pub index: u64,
}

/// The stages of a group's life on a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// It serves.
    Alive,
    /// It was destroyed; some of its rows may still be there.
    Destroying,
    /// It was destroyed and nothing of it is left but this record, which keeps it from coming back.
    Destroyed,
    /// Another group has absorbed it, as far as the state of this store says; it is needed as long as that may be forgotten
    /// by a crash.
    Absorbed(Parent),
}

/// The index and term of the last entry that was cut from the head of a log (0, 0 at birth).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Truncated {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// A group as the log has it when a store opens.
#[derive(Debug, Clone)]
pub struct StoredGroup {
    /// The group.
    pub id: GroupId,
    /// Its record.
    pub record: GroupRecord,
    /// Its term, vote and commit index.
    pub hard_state: HardState,
    /// Where its log begins.
    pub truncated: Truncated,
    /// Index and term of each stored entry that begins a run of one term, in order.
    pub terms: Vec<(u64, u64)>,
    /// The last stored entry's index; `truncated.index` when there is none.
    pub last: u64,
    /// Bytes of its stored entries.
    pub bytes: u64,
    /// A snapshot was being installed.
    pub installing: Option<Installing>,
    /// Parts of a snapshot are kept.
    pub staged: bool,
}

/// One change of the log. The changes of a batch take effect in order, together.
#[derive(Debug, Clone)]
pub enum LogChange {
    /// Birth, and later stages of life.
    Record(GroupId, GroupRecord),
    /// Entries, consecutive. They replace whatever is stored from the first one's index up to `last_before`.
    Append {
        /// The group.
        group: GroupId,
        /// At least one.
        entries: Vec<Entry>,
        /// The last index before this change.
        last_before: u64,
    },
    /// Term, vote and commit index.
    HardState(GroupId, HardState),
    /// Forget the entries after `from.index` up to and including `to.index`.
    Truncate {
        /// The group.
        group: GroupId,
        /// Where the log began.
        from: Truncated,
        /// Where it begins now.
        to: Truncated,
    },
    /// Forget entries, hard state and truncation of the group, and its mark.
    Clear(GroupId),
    /// Whether a snapshot is being installed.
    Installing(GroupId, Option<Installing>),
    /// Keep a part of a snapshot.
    Chunk {
        /// The group.
        group: GroupId,
        /// Its place.
        number: u64,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
    /// Forget the parts of snapshots.
    DropChunks(GroupId),
}

/// A snapshot whose parts are kept here is being installed: until it is done, nothing of the state counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installing {
    /// The last entry that it has applied.
    pub at: Truncated,
    /// How many parts it has.
    pub chunks: u64,
}

/// Changes that become durable together.
pub type LogBatch = Vec<LogChange>;

/// A durable log of many groups.
pub trait LogEngine: Send + Sync + 'static {
    /// Makes a batch durable, atomically, with one sync. Returns the bytes written.
    fn write(&self, batch: &LogBatch) -> Result<u64, LogError>;

    /// The entries in `[from, to)`, in order: all of them, or as many as fit in `bytes_max`, but at least one.
    fn entries(&self, group: GroupId, from: u64, to: u64, bytes_max: u64) -> Result<Vec<Entry>, LogError>;

    /// A part of a snapshot.
    fn chunk(&self, group: GroupId, number: u64) -> Result<Vec<u8>, LogError>;

    /// Every group that was ever recorded, destroyed ones included.
    fn groups(&self) -> Result<Vec<StoredGroup>, LogError>;

    /// Closes the log: nothing is written after this.
    fn close(&self);
}

/// An entry as a log gives it back.
fn kept(entry: &Entry) -> Entry {
    let mut kept = entry.clone();
    if kept.get_entry_type() != raft::eraftpb::EntryType::EntryNormal {
        kept.data.clear();
    }
    kept
}

/// Notes where a term begins: what [`StoredGroup::terms`] holds.
fn note_term(terms: &mut Vec<(u64, u64)>, index: u64, term: u64) {
    if terms.last().is_none_or(|last| last.1 != term) {
        terms.push((index, term));
    }
}
