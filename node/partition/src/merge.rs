//! A merge: a partition (the source) becomes part of its neighbour (the absorber), by steps that stand in two logs.
//!
//! 1. [`MergeStep::Freeze`], in the source's log: nothing is evaluated or read there any more, and its members stay. What it
//!    holds is the same from this entry on, wherever it is applied ([`Frozen`]).
//! 2. [`MergeStep::Everywhere`], in the source's log: the freeze is in every voter's log, and durable there.
//! 3. [`MergeStep::Merge`], in the absorber's log: the only commit point. Its apply takes the source as it stands frozen in
//!    the same store: [`Applier::absorb`](crate::applier::Applier::absorb).
//! 4. Or [`MergeStep::Refuse`], in the absorber's log: no merge with this id will ever be made there. Whichever of the two
//!    comes first decides ([`MergeDone`]); the other one then changes nothing.
//! 5. [`MergeStep::Thaw`], in the source's log, once that is refused.
//!
//! No item moves. Change records of the source go behind those of the absorber, with new times: the absorber's readers have
//! one position in one log.

use partita_model::partition::{GroupId, PartitionDescriptor};
use serde::{Deserialize, Serialize};

use crate::descriptor::{self, LogPosition};
use crate::error::PartitionError;
use crate::split;
use crate::storage::View;

/// The version of a [`MergeStep`] and of a [`Frozen`] row: their first byte. Postcard follows.
const VERSION: u8 = 1;

/// Why two partitions do not become one. Nothing has changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MergeFault {
    /// One of them is the other.
    #[error("group {:016x} cannot be merged with itself", .0.0)]
    Same(GroupId),
    /// Of another table, or of another index.
    #[error("the two partitions hold rows of different tables (or indexes): {:016x} and {:016x}", .0.0, .1.0)]
    OtherTable(GroupId, GroupId),
    /// There are keys between them.
    #[error("groups {:016x} and {:016x} are not neighbours: neither begins where the other one ends", .0.0, .1.0)]
    NotNeighbours(GroupId, GroupId),
    /// A change of the table has come to one of them only.
    #[error("a change of the table's schema has come to only one of the two partitions: wait until both have it")]
    OtherSchema,
    /// Existing items are being copied into a new index: the absorber would not go on with the source's.
    #[error("global index {0} is being built: merge when it is active")]
    Building(String),
    /// Change records are given new times, and a stream's readers know the old ones.
    #[error("the table has a stream: its partitions are not merged")]
    Stream,
    /// The source's change log is too long.
    #[error("{0} bytes of the source's change log are not delivered to the global indexes: a merge moves at most {max}", max = split::CHANGES_BYTES_MAX)]
    Changes(u64),
    /// The source cannot be read.
    #[error(transparent)]
    Partition(#[from] PartitionError),
}

/// A step, as it stands in the log of the group that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeStep {
    /// The source stands still.
    Freeze {
        /// The caller's id.
        id: u128,
        /// Who is to absorb it.
        absorber: GroupId,
    },
    /// All voters of the source have its freeze.
    Everywhere {
        /// The caller's id.
        id: u128,
    },
    /// The absorber takes the source.
    Merge(Box<MergeRecord>),
    /// The absorber does not, and never will by this id.
    Refuse {
        /// The caller's id.
        id: u128,
        /// The source.
        source: GroupId,
    },
    /// The source goes on by itself.
    Thaw {
        /// The caller's id.
        id: u128,
    },
}

/// What a merge was evaluated with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRecord {
    /// The caller's id.
    pub id: u128,
    /// The source, as it stands frozen.
    pub source: PartitionDescriptor,
    /// The entry of the source's log that froze it.
    pub freeze: LogPosition,
    /// The absorber's members, all of whom have the source beside them: with any others the merge is refused.
    pub membership_epoch: u64,
}

impl MergeStep {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, PartitionError> {
        descriptor::encode(VERSION, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PartitionError> {
        descriptor::decode(VERSION, bytes, "step of a merge")
    }
}

/// A source that stands still: a row of the Meta family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// The caller's id.
    pub id: u128,
    /// Who is to absorb it.
    pub absorber: GroupId,
    /// The entry that froze it.
    pub at: LogPosition,
    /// All voters are known to have that entry.
    pub everywhere: bool,
}

impl Frozen {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, PartitionError> {
        descriptor::encode(VERSION, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PartitionError> {
        descriptor::decode(VERSION, bytes, "freeze")
    }
}

/// What the absorber's log says of a merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeDone {
    /// The caller's id.
    pub id: u128,
    /// The source.
    pub source: GroupId,
    /// What came of it.
    pub outcome: MergeOutcome,
}

/// What came of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeOutcome {
    /// The source's keys are the absorber's.
    Merged {
        /// The entry of the source's log that froze it.
        freeze: LogPosition,
        /// The absorber's range epoch since then.
        range_epoch: u64,
    },
    /// They will not be, by this id.
    Refused,
}

/// What a merge's entry comes to where it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was decided by an earlier entry.
    Decided,
    /// The absorber is not what it was evaluated for.
    Refused,
    /// The source is absorbed.
    Merged,
}

/// Whether these two can become one.
pub fn check(absorber: &PartitionDescriptor, source: &PartitionDescriptor) -> Result<(), MergeFault> {
    let groups = (absorber.group, source.group);
    if absorber.group == source.group {
        return Err(MergeFault::Same(source.group));
    }
    if absorber.table != source.table {
        return Err(MergeFault::OtherTable(groups.0, groups.1));
    }
    if !touch(absorber, source) {
        return Err(MergeFault::NotNeighbours(groups.0, groups.1));
    }
    if absorber.kind != source.kind {
        return Err(MergeFault::OtherSchema);
    }
    let Some(schema) = source.schema() else { return Ok(()) };
    if let Some(index) = schema.global.iter().find(|index| !index.readable) {
        return Err(MergeFault::Building(index.name.clone()));
    }
    match schema.stream {
        Some(_) => Err(MergeFault::Stream),
        None => Ok(()),
    }
}

/// Whether one begins where the other one ends.
fn touch(one: &PartitionDescriptor, other: &PartitionDescriptor) -> bool {
    one.end.as_ref() == Some(&other.start) || other.end.as_ref() == Some(&one.start)
}

/// Whether the source's change log can be moved: about, since it may grow until the source is frozen. Reads it.
pub fn check_changes(view: &impl View, source: &PartitionDescriptor) -> Result<(), MergeFault> {
    match split::changes_bytes(view, source)? {
        bytes if bytes > split::CHANGES_BYTES_MAX => Err(MergeFault::Changes(bytes)),
        _ => Ok(()),
    }
}

/// The absorber once it has the source.
pub fn join(absorber: &PartitionDescriptor, source: &PartitionDescriptor) -> PartitionDescriptor {
    let (left, right) = match absorber.start < source.start {
        true => (absorber, source),
        false => (source, absorber),
    };
    PartitionDescriptor {
        start: left.start.clone(),
        end: right.end.clone(),
        range_epoch: left.range_epoch.max(right.range_epoch) + 1,
        ..absorber.clone()
    }
}
