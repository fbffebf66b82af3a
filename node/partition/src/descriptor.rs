//! What a partition knows of itself.

use std::sync::Arc;

use partita_model::key::KeyBytes;
use partita_model::schema::{GlobalIndex, KeySchema, TableId, TableSchema};
use serde::{Deserialize, Serialize};

use crate::codec::Reader;
use crate::error::PartitionError;

/// The version of a descriptor's stored form: its first byte. Postcard follows.
const VERSION: u8 = 1;

/// A replication group's id, unique in the cluster for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId(pub u64);

/// A write's place in its partition's order: 48 bits of milliseconds, 16 bits of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ItemTime(pub u64);

impl ItemTime {
    /// Bits of the counter within a millisecond.
    const COUNTER_BITS: u32 = 16;

    /// The first time of a millisecond.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms << Self::COUNTER_BITS)
    }

    /// Epoch milliseconds.
    pub fn ms(self) -> u64 {
        self.0 >> Self::COUNTER_BITS
    }
}

/// An entry of the group's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct LogPosition {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

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

    /// The table's schema; `None` on an index's partition.
    pub fn schema(&self) -> Option<&Arc<TableSchema>> {
        match &self.kind {
            PartitionKind::Table(schema) => Some(schema),
            PartitionKind::Index { .. } => None,
        }
    }

    /// The stored form.
    pub fn encode(&self) -> Result<Vec<u8>, PartitionError> {
        encode(VERSION, self)
    }

    /// From the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, PartitionError> {
        decode(VERSION, bytes, "descriptor")
    }
}

/// A version byte, then postcard.
pub(crate) fn encode<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, PartitionError> {
    postcard::to_extend(value, vec![version]).map_err(|error| PartitionError::UnknownFormat(error.to_string()))
}

/// What [`encode`] wrote.
pub(crate) fn decode<'a, T: Deserialize<'a>>(
    version: u8,
    bytes: &'a [u8],
    what: &'static str,
) -> Result<T, PartitionError> {
    let mut reader = Reader::new(bytes, what);
    if reader.byte()? != version {
        return Err(reader.unknown());
    }
    postcard::from_bytes(&bytes[1..]).map_err(|error| PartitionError::UnknownFormat(format!("{what}: {error}")))
}
