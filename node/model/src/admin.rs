//! What a storage node's admin API says, and what it is told: JSON between the operator and the nodes.
//!
//! Every call is idempotent and answers with the state it found:
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET /store` | | [`StoreState`] |
//! | `PUT /groups/{id}` | [`PartitionDescriptor`] | [`GroupState`]: made, or found as it is |
//! | `DELETE /groups/{id}` | | nothing, also when it is gone |
//! | `PUT /groups/{id}/schema` | [`TableSchema`](crate::schema::TableSchema) | [`GroupState`]; an older or equal version changes nothing |
//! | `PUT /groups/{id}/backfill/{index}` | | [`JobState`]: copies existing items into a global index |
//! | `PUT /groups/{id}/expiry/{on or off}` | | [`JobState`]: makes or drops the expiry rows of existing items |
//!
//! A group's id has 16 hexadecimal digits, an index's is its number. A refused call answers [`Problem`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::partition::PartitionDescriptor;
use crate::schema::{IndexId, SchemaVersion};
use crate::table::record::PartitionSizes;

/// A store and its groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreState {
    /// The store's identity: made when its folder was first opened.
    pub uuid: String,
    /// The version of the software.
    pub version: String,
    /// Its groups, by id.
    pub groups: Vec<GroupState>,
}

/// A group as its replica in this store sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupState {
    /// Range, table, schema.
    pub descriptor: PartitionDescriptor,
    /// Whether this replica leads.
    pub leader: bool,
    /// Its term.
    pub term: u64,
    /// The last applied entry's index.
    pub applied: u64,
    /// What it holds.
    pub sizes: PartitionSizes,
    /// What it has served here since the process began.
    #[serde(default)]
    pub used: Used,
}

/// Half capacity units that were used: the smallest there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    /// By reads.
    pub read_half_units: u64,
    /// By writes, with those of local indexes.
    pub write_half_units: u64,
    /// By writes, for global indexes: counted where the write was taken.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub index_half_units: BTreeMap<IndexId, u64>,
}

impl GroupState {
    /// The version of the schema that a table's partition knows; `None` on an index's.
    pub fn schema_version(&self) -> Option<SchemaVersion> {
        self.descriptor.schema().map(|schema| schema.version)
    }
}

/// A walk over a partition's items that takes its time. It begins anew when the process was restarted; repeating it changes
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobState {
    /// It has reached the end.
    pub done: bool,
    /// Items walked over so far.
    pub rows: u64,
    /// Why it is waiting, if it is: it goes on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub message: String,
}
