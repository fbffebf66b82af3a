//! The typed operations that cross from a gateway to a partition's leader, and their replies.
//!
//! They are complete: names and values of expressions are resolved, keys are bytes, items are in stored form. They
//! implement serde so that another process can be on the other side (postcard frames).

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use crate::capacity::{ReadCost, Throttled, WriteCost};
use crate::error::ApiError;
use crate::expression::{Condition, Projection, Update};
use crate::item::Item;
use crate::key::KeyBytes;
use crate::schema::{IndexId, SchemaVersion, TableId};

/// Which rows a request is about: a table's items, or an index's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// The table's own items.
    Table,
    /// A local secondary index: rows of the table's partitions.
    Local(IndexId),
    /// A global secondary index: it has partitions of its own, under a table id of its own.
    Global(IndexId),
}

/// What is done to one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Replace the item. The item contains its key attributes.
    Put(Item),
    /// Apply an update to the item, creating it from the key attributes if there is none.
    Update {
        /// The key attributes, as an item.
        key: Item,
        /// What to change.
        update: Update,
    },
    /// Remove the item.
    Delete {
        /// The key attributes, as an item (for the change record).
        key: Item,
    },
}

/// `ReturnValues`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ReturnValues {
    /// Nothing.
    #[default]
    None,
    /// The whole item as it was.
    AllOld,
    /// The attributes an update touches, as they were.
    UpdatedOld,
    /// The whole item as it is now.
    AllNew,
    /// The attributes an update touches, as they are now.
    UpdatedNew,
}

/// Who asks for a write; change records carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Origin {
    /// A client.
    #[default]
    Client,
    /// The expiry sweeper: free of write units, and refused unless the item is expired at evaluation.
    TimeToLive,
}

/// A conditional write of one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// The table.
    pub table: TableId,
    /// The schema the gateway validated with; a leader refuses an older one than its own.
    pub schema_version: SchemaVersion,
    /// The primary key bytes.
    pub key: KeyBytes,
    /// What to do.
    pub action: Action,
    /// Only if this holds.
    pub condition: Option<Condition>,
    /// What to send back.
    pub return_values: ReturnValues,
    /// Send the item back when the condition fails.
    pub return_item_on_failure: bool,
    /// Who asks.
    pub origin: Origin,
}

/// What a write did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteReply {
    /// What `return_values` asked for; `None` when there is nothing to return.
    pub attributes: Option<Item>,
    /// The units used, also when nothing changed.
    pub cost: WriteCost,
    /// The item collection's size in bytes after the write, for tables with local secondary indexes.
    pub collection_bytes: Option<u64>,
}

/// A read of one item by its primary key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetRequest {
    /// The table.
    pub table: TableId,
    /// The schema the gateway validated with.
    pub schema_version: SchemaVersion,
    /// The primary key bytes.
    pub key: KeyBytes,
    /// Strongly consistent.
    pub consistent: bool,
    /// Only these attributes.
    pub projection: Option<Projection>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetReply {
    /// The (projected) item.
    pub item: Option<Item>,
    /// The units used: by the size of the whole item.
    pub cost: ReadCost,
}

/// One page of a Query or a Scan over one key range, in key order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageRequest {
    /// The table (also for indexes).
    pub table: TableId,
    /// The schema the gateway validated with.
    pub schema_version: SchemaVersion,
    /// Items or an index's rows.
    pub target: Target,
    /// Key bytes in the target's own key space (see `key`): from, to.
    pub range: (Bound<KeyBytes>, Bound<KeyBytes>),
    /// From the end of the range to its start.
    pub reverse: bool,
    /// Stop after evaluating this many rows.
    pub limit: Option<u32>,
    /// Stop when this many bytes have been evaluated (1 MB at most).
    pub bytes_max: u32,
    /// Strongly consistent (never on a global index).
    pub consistent: bool,
    /// Return only rows for which this holds; all evaluated rows cost.
    pub filter: Option<Condition>,
    /// Only these attributes.
    pub projection: Option<Projection>,
    /// Do not return items, only count them (`Select: COUNT`).
    pub count_only: bool,
    /// On a local index: read the whole item from the table for each row (attributes that are not projected).
    pub fetch_from_table: bool,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PageReply {
    /// The rows that passed the filter, projected; empty with `count_only`.
    pub items: Vec<Item>,
    /// How many rows passed the filter.
    pub count: u32,
    /// How many rows were evaluated.
    pub scanned: u32,
    /// The sum of the sizes of the rows evaluated.
    pub bytes: u64,
    /// Half units used by fetching whole items from the table for a local index's rows.
    pub fetch_half_units: u64,
    /// Where a following page starts: the last evaluated row's key bytes and its key attributes (of the target
    /// and of the table) as an item. `None` when the range was read to its end.
    pub last: Option<(KeyBytes, Item)>,
}

/// Why a leader did not do what a request asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// An answer for the client.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An answer for the client that was found by evaluating its write: it has its price all the same.
    #[error("{error}")]
    Evaluated {
        /// The answer.
        error: ApiError,
        /// The price.
        cost: Box<WriteCost>,
    },
    /// There are no units left for this.
    #[error("throttled: {}", .0.reason())]
    Throttled(Box<Throttled>),
    /// The request was validated with a schema that is not the leader's: load the table again and validate anew.
    #[error("the request was validated with another version of the table's schema")]
    StaleSchema,
    /// The key is not (or no longer) in this partition's range.
    #[error("the key is outside this partition's range")]
    WrongRange,
    /// This replica is not the leader (or has no valid lease).
    #[error("this replica is not the leader")]
    NotLeader,
    /// The volume has less free space than the reserve: reads go on, writes are refused.
    #[error("the storage volume is below its reserve of free space")]
    OutOfSpace,
    /// The write was proposed, and nobody knows whether it will take effect.
    #[error("the write's fate is unknown")]
    UnknownFate,
    /// The process is stopping.
    #[error("the store is stopping")]
    Stopping,
    /// Stored bytes failed their check; the message names the file.
    #[error("corrupt data: {0}")]
    Corrupt(String),
}
