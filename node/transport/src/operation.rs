//! What can be asked of a group, and what it answers.
//!
//! These are what peers of different versions understand of each other, in postcard's encoding, which does not
//! describe itself. The rules for a change are in [`crate::protocol`].

use partita_model::capacity::{UnitsAnswer, UnitsCall};
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_model::schema::{SchemaVersion, TableId};
use partita_partition::command::{Command, CommandReply, Delivered};
use partita_partition::descriptor::{GroupId, LogPosition, PartitionDescriptor};
use partita_partition::reader::Counters;
use serde::{Deserialize, Serialize};

use crate::protocol::{VERSION_FIRST, VERSION_FURTHER, VERSION_LETTERS, VERSION_UNITS};

/// Something asked of one group. New ones are added at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Operation {
    /// One item.
    Get(GetRequest),
    /// One conditional write.
    Write(WriteRequest),
    /// One page of rows.
    Page(PageRequest),
    /// A command through the group's log: deliveries to a global index, and what the control plane orders.
    Command(Command),
    /// How far a source's changes have been delivered at this group (a global index's partition).
    Position(GroupId),
    /// What the group counts.
    Stats,
    /// The descriptors of a table's (or a global index's) partitions that the node has. Answered whatever the group.
    Describe(TableId),
    /// Who leads the group, as far as this replica of it knows. Since version 2.
    Leader,
    /// Something about the units of the table that the group's partition is of. Since version 3.
    Units(TableId, UnitsCall),
    /// A further part of a page, behind so many bytes of it that were read in other groups. Since version 4; answered like a page.
    Further(PageRequest, u64),
}

/// The answer to the [`Operation`] of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// What was found.
    Get(GetReply),
    /// What the write did.
    Write(WriteReply),
    /// The page.
    Page(PageReply),
    /// What the command did.
    Command(CommandReply),
    /// Who delivered, and up to where; `None` when nobody has.
    Position(Option<Delivered>),
    /// The counts.
    Stats(GroupStats),
    /// The descriptors.
    Describe(Vec<PartitionDescriptor>),
    /// What the replica knows.
    Leader(GroupLeader),
    /// About units.
    Units(UnitsAnswer),
}

/// Who leads a group, as one of its replicas knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupLeader {
    /// The replica's term: of two answers the one of the later term counts.
    pub term: u64,
    /// Whether the replica itself leads, and serves.
    pub leads: bool,
    /// The leader's address, `host:port`, if both are known.
    pub leader: Option<String>,
    /// The addresses of all members that are known.
    pub members: Vec<String>,
}

/// What a service makes of an operation.
pub type Reply = Result<Answer, Refused>;

/// What a group says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStats {
    /// Whether this replica leads (and serves).
    pub leader: bool,
    /// Its term.
    pub term: u64,
    /// The last entry applied.
    pub applied: LogPosition,
    /// The version of its schema; of an index's partition, 0.
    pub schema_version: SchemaVersion,
    /// Items, bytes, clock.
    pub counters: Counters,
    /// Writes evaluated and not yet applied.
    pub in_flight: u64,
}

/// Why a node did not do what it was asked: it has done nothing, unless the reason is `UnknownFate`.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("{reason}")]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// What the node knows of the table's partitions, where the route that led here may be wrong: with `WrongRange`,
    /// `NotLeader`, `StaleSchema` and an unknown group.
    pub known: Vec<PartitionDescriptor>,
}

/// Why a node did not do what it was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum Reason {
    /// The group refused.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The node does not have this group.
    #[error("the node has no such group")]
    UnknownGroup,
    /// The frames were whole, but what they held was not an operation of the agreed version.
    #[error("the request cannot be read: {0}")]
    Unreadable(String),
    /// The answer is longer than a message may be.
    #[error("the answer has {0} bytes, more than a message may have")]
    TooLong(u64),
}

impl Operation {
    /// The first version of the protocol that has it: a peer that speaks an older one never sees it.
    pub fn since(&self) -> u16 {
        match self {
            Self::Get(_)
            | Self::Write(_)
            | Self::Page(_)
            | Self::Command(_)
            | Self::Position(_)
            | Self::Stats
            | Self::Describe(_) => VERSION_FIRST,
            Self::Leader => VERSION_LETTERS,
            Self::Units(..) => VERSION_UNITS,
            Self::Further(..) => VERSION_FURTHER,
        }
    }

    /// Whether it changes nothing, so that it can be asked again when nobody knows what became of it.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Get(_) | Self::Page(_) | Self::Further(..) => true,
            Self::Position(_) | Self::Stats | Self::Describe(_) | Self::Leader => true,
            Self::Write(_) | Self::Command(_) | Self::Units(..) => false,
        }
    }
}

impl From<Refusal> for Refused {
    /// Without descriptors: for refusals that say nothing about the route.
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.into(),
            known: Vec::new(),
        }
    }
}

impl Refused {
    /// Whether the route that led to the node may be wrong: the descriptors it knows belong into the answer.
    pub fn concerns_route(&self) -> bool {
        match &self.reason {
            Reason::UnknownGroup => true,
            Reason::Refusal(refusal) => {
                matches!(refusal, Refusal::WrongRange | Refusal::NotLeader | Refusal::StaleSchema)
            }
            Reason::Unreadable(_) | Reason::TooLong(_) => false,
        }
    }
}
