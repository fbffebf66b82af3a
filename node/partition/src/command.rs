//! What goes through a partition's log besides clients' writes: the control plane's and the index workers' commands.

use std::sync::Arc;

use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::schema::{IndexId, TableSchema};
use serde::{Deserialize, Serialize};

use crate::descriptor::{GroupId, ItemTime};

/// Orders the deliveries of one source range: a session begins when a leader starts to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Session {
    /// The source's range epoch.
    pub range_epoch: u64,
    /// The source's term.
    pub term: u64,
}

/// What happens to one row of a global index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowChange {
    /// The row is now this.
    Put(Item),
    /// The row is gone.
    Delete,
}

/// One row's change, in the source's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRow {
    /// The item time of the write that caused it.
    pub time: ItemTime,
    /// The row's key in the index's key space.
    pub key: KeyBytes,
    /// What happens to it.
    pub change: RowChange,
}

/// A stretch of a source's change log, as far as it concerns one index partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexBatch {
    /// Whose change log.
    pub source: GroupId,
    /// Who delivers.
    pub session: Session,
    /// Rows in order of time.
    pub rows: Vec<IndexRow>,
    /// Everything up to here has been delivered with this batch, also what had no row for this partition.
    pub through: ItemTime,
}

/// How far a source's change log has been delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Delivered {
    /// By whom.
    pub session: Session,
    /// Up to here.
    pub through: ItemTime,
}

/// A command, evaluated at the leader in one order with the writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A newer version of the table's schema. Only what may change is accepted: global indexes, time to live,
    /// stream.
    SetSchema(Arc<TableSchema>),
    /// Rows for a global index's partition. Rows at or below the recorded position of their source are ignored, a
    /// session older than the recorded one is refused.
    Deliver(IndexBatch),
    /// Puts rows of existing items into the change log, for one new global index.
    Backfill {
        /// The index.
        index: IndexId,
        /// Go on behind this item.
        after: Option<KeyBytes>,
        /// Stop after so many items.
        rows_max: u32,
        /// Stop after so many bytes of items.
        bytes_max: u64,
    },
    /// Creates expiry rows of existing items, once time to live has been switched on.
    IndexExpiry {
        /// Go on behind this item.
        after: Option<KeyBytes>,
        /// Stop after so many items.
        rows_max: u32,
    },
    /// Removes expiry rows that the schema does not call for (any more).
    DropExpiry {
        /// Go on behind this expiry row.
        after: Option<KeyBytes>,
        /// Stop after so many rows.
        rows_max: u32,
    },
    /// Forgets the change log up to and including this time.
    TrimChanges {
        /// The last one to go.
        through: ItemTime,
    },
    /// On a global index's partition: nothing is taken any more that these sources sent before this range epoch of
    /// theirs. What a split's child sends comes behind it: its parents' late messages are about its items, too.
    Close(Vec<(GroupId, u64)>),
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CommandReply {
    /// Done (also when it had been done before).
    Done,
    /// Where this source's delivery stands now.
    Delivered(Delivered),
    /// The batch came from a session older than the one recorded here: its sender is deposed.
    OldSession(Delivered),
    /// A walk over rows.
    Progress {
        /// Where to go on; `None` at the end of the range.
        next: Option<KeyBytes>,
        /// Rows looked at.
        rows: u64,
    },
}
