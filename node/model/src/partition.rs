//! What a partition knows of itself: which group replicates it, what it holds, and its borders.

use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hexadecimal;
use crate::key::KeyBytes;
use crate::key::range::KeyRange;
use crate::schema::{GlobalIndex, KeySchema, TableId, TableSchema};

/// A replication group's id, unique in the cluster for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId(#[serde(with = "hexadecimal::id")] pub u64);

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartitionKind {
    /// Items of a table.
    Table(Arc<TableSchema>),
    /// Rows of a global index.
    Index {
        /// The table.
        base: TableId,
        /// The table's primary key.
        base_keys: KeySchema,
        /// The index.
        index: GlobalIndex,
    },
}

/// A partition's identity, contents and borders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDescriptor {
    /// The group that replicates it.
    pub group: GroupId,
    /// The id its rows are stored under: the table's, or the global index's own.
    pub table: TableId,
    /// What it holds.
    pub kind: PartitionKind,
    /// The first key (inclusive; empty for the first partition).
    pub start: KeyBytes,
    /// The first key behind it; `None` for the last partition.
    pub end: Option<KeyBytes>,
    /// Counts splits and merges.
    pub range_epoch: u64,
    /// Counts changes of members.
    pub membership_epoch: u64,
}

impl PartitionDescriptor {
    /// The only partition of a new table.
    pub fn whole_table(group: GroupId, schema: Arc<TableSchema>) -> Self {
        Self {
            group,
            table: schema.id,
            kind: PartitionKind::Table(schema),
            start: KeyBytes::default(),
            end: None,
            range_epoch: 1,
            membership_epoch: 1,
        }
    }

    /// The only partition of a new global index.
    pub fn whole_index(group: GroupId, base: &TableSchema, index: GlobalIndex) -> Self {
        Self {
            group,
            table: index.table,
            kind: PartitionKind::Index {
                base: base.id,
                base_keys: base.keys.clone(),
                index,
            },
            start: KeyBytes::default(),
            end: None,
            range_epoch: 1,
            membership_epoch: 1,
        }
    }

    /// Whether a key belongs here.
    pub fn contains(&self, key: &KeyBytes) -> bool {
        *key >= self.start && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// Whether all keys of a range belong here.
    pub fn covers(&self, range: &KeyRange) -> bool {
        let from = match &range.0 {
            Bound::Included(key) | Bound::Excluded(key) => *key >= self.start,
            Bound::Unbounded => self.start.0.is_empty(),
        };
        let to = match (&range.1, &self.end) {
            (_, None) => true,
            (Bound::Included(key), Some(end)) => key < end,
            (Bound::Excluded(key), Some(end)) => key <= end,
            (Bound::Unbounded, Some(_)) => false,
        };
        from && to
    }

    /// Whether some key belongs to both: never so of two partitions in one place.
    pub fn overlaps(&self, other: &Self) -> bool {
        let before = |one: &Self, other: &Self| one.end.as_ref().is_some_and(|end| *end <= other.start);
        self.table == other.table && !before(self, other) && !before(other, self)
    }

    /// The table's schema; `None` on an index's partition.
    pub fn schema(&self) -> Option<&Arc<TableSchema>> {
        match &self.kind {
            PartitionKind::Table(schema) => Some(schema),
            PartitionKind::Index { .. } => None,
        }
    }
}
