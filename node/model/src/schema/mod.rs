//! A table's keys and indexes: what a request is validated against and what a partition's leader evaluates with.
//!
//! 1. [`check`] validates items and keys against the schema, with DynamoDB's words.
//! 2. [`row`] derives what an index holds of an item.

pub mod check;
pub mod row;

use serde::{Deserialize, Serialize};

use crate::hexadecimal;
use crate::value::ValueType;

/// A table's (or a global index's) random 64-bit id: the prefix of its rows on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId(#[serde(with = "hexadecimal::id")] pub u64);

/// An index's number within its table, never used again after the index is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IndexId(pub u16);

/// Counts the changes of a table's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct SchemaVersion(pub u64);

/// The types a key attribute can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScalarType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
}

impl ScalarType {
    /// The same as a type of values.
    pub fn value_type(self) -> ValueType {
        match self {
            Self::S => ValueType::S,
            Self::N => ValueType::N,
            Self::B => ValueType::B,
        }
    }
}

/// One attribute of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyAttribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ScalarType,
}

/// Hash attributes (one; up to four on a global index) and range attributes (none or one; up to four on a
/// global index), in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeySchema {
    /// The partition key.
    pub hash: Vec<KeyAttribute>,
    /// The sort key.
    pub range: Vec<KeyAttribute>,
}

impl KeySchema {
    /// All key attributes, hash first.
    pub fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        self.hash.iter().chain(&self.range)
    }

    /// Whether `name` is one of the key attributes.
    pub fn contains(&self, name: &str) -> bool {
        self.attributes().any(|a| a.name == name)
    }
}

/// What an index's rows hold besides the keys of index and table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexProjection {
    /// Everything.
    All,
    /// Nothing.
    KeysOnly,
    /// These attributes.
    Include(Vec<String>),
}

/// A local secondary index: the table's partition key with another sort key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalIndex {
    /// Its number.
    pub id: IndexId,
    /// Its name.
    pub name: String,
    /// Hash is the table's; range is the index's own.
    pub keys: KeySchema,
    /// What its rows hold.
    pub projection: IndexProjection,
}

/// A global secondary index: rows in partitions of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalIndex {
    /// Its number.
    pub id: IndexId,
    /// The id its rows are stored under.
    pub table: TableId,
    /// The seed of its partition key's hash.
    #[serde(with = "hexadecimal::id")]
    pub seed: u64,
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: KeySchema,
    /// What its rows hold.
    pub projection: IndexProjection,
    /// Whether it can be queried (false while it is being built or removed). Writes maintain it from the moment it
    /// is in the schema.
    pub readable: bool,
}

/// `StreamViewType`: which images a change record keeps for stream readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamView {
    /// Keys only.
    KeysOnly,
    /// Keys and the item as it is now.
    NewImage,
    /// Keys and the item as it was.
    OldImage,
    /// Keys and both.
    NewAndOldImages,
}

/// Everything that reads and writes of a table need to know about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The table's id.
    pub id: TableId,
    /// The seed of the partition key's hash.
    #[serde(with = "hexadecimal::id")]
    pub seed: u64,
    /// This schema's version.
    pub version: SchemaVersion,
    /// The table's name.
    pub name: String,
    /// The primary key.
    pub keys: KeySchema,
    /// Local secondary indexes.
    pub local: Vec<LocalIndex>,
    /// Global secondary indexes.
    pub global: Vec<GlobalIndex>,
    /// The attribute that holds each item's expiry time in seconds, when time to live is on.
    pub time_to_live: Option<String>,
    /// What change records keep for stream readers.
    pub stream: Option<StreamView>,
}

impl TableSchema {
    /// The local index of that number.
    pub fn local_index(&self, id: IndexId) -> Option<&LocalIndex> {
        self.local.iter().find(|index| index.id == id)
    }

    /// The global index of that number.
    pub fn global_index(&self, id: IndexId) -> Option<&GlobalIndex> {
        self.global.iter().find(|index| index.id == id)
    }
}

#[cfg(test)]
mod tests;
