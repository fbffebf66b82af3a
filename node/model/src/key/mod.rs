//! Keys as ordered bytes.
//!
//! - items: `hash64(seed, partition key) big-endian | esc(partition key) | esc(sort key)`
//! - local index rows: `hash64 | esc(partition key) | index id | esc(index sort key) | esc(sort key)`
//! - global index rows: `hash64(index seed, hash attributes) | esc(hash attributes) | esc(range attributes) |
//!   esc(table partition key) | esc(table sort key)`
//!
//! None of them carries the table id: the store puts it in front.
//!
//! 1. [`component`] turns one key attribute into bytes that keep order and end by themselves.
//! 2. [`primary`], [`local_row`] and [`global_row`] put the keys of rows together from an item's attributes.
//! 3. [`range`] turns key conditions, segments of a Scan and start keys into bounds.
//!
//! The hash is XXH3-64 over the escaped components of the partition key.

pub mod component;
pub mod range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::hexadecimal;
use crate::item::ItemRef;
use crate::schema::{GlobalIndex, IndexId, KeyAttribute, KeySchema, LocalIndex, TableSchema};
use crate::value::ValueRef;

/// Bytes of the hash in front.
pub const HASH_BYTES: usize = 8;
/// Room for most keys.
const CAPACITY_BYTES: usize = 64;

/// A key (or a boundary between keys) of one table's or index's key space.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct KeyBytes(#[serde(with = "hexadecimal::bytes")] pub Vec<u8>);

impl KeyBytes {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash in front; of a shorter boundary, its bytes filled up with zeros.
    pub fn hash(&self) -> u64 {
        let mut hash = [0; HASH_BYTES];
        hash.iter_mut().zip(&self.0).for_each(|(to, from)| *to = *from);
        u64::from_be_bytes(hash)
    }

    /// The smallest byte string above this one.
    pub fn successor(mut self) -> Self {
        self.0.push(0);
        self
    }

    /// The smallest byte string above everything that starts with this one; `None` when there is none.
    pub fn prefix_end(mut self) -> Option<Self> {
        while let Some(last) = self.0.last_mut() {
            if *last < u8::MAX {
                *last += 1;
                return Some(self);
            }
            self.0.pop();
        }
        None
    }
}

/// The primary key bytes of an item (or of a key, as an item). `None` when a key attribute is missing, has another
/// type or is empty: `TableSchema`'s checks say which.
pub fn primary(keys: &KeySchema, seed: u64, item: ItemRef<'_>) -> Option<KeyBytes> {
    let mut out = partition_prefix(&keys.hash, seed, item)?;
    append(&mut out, &keys.range, item)?;
    Some(KeyBytes(out))
}

/// The key bytes of an item's row in a local index; `None` when the item has no (valid) sort key for it.
pub fn local_row(table: &TableSchema, index: &LocalIndex, item: ItemRef<'_>) -> Option<KeyBytes> {
    let mut out = partition_prefix(&table.keys.hash, table.seed, item)?;
    out.extend_from_slice(&index.id.0.to_be_bytes());
    append(&mut out, &index.keys.range, item)?;
    append(&mut out, &table.keys.range, item)?;
    Some(KeyBytes(out))
}

/// The key bytes of an item's row in a global index; `None` when the item lacks one of the index's (valid) keys.
pub fn global_row(table: &TableSchema, index: &GlobalIndex, item: ItemRef<'_>) -> Option<KeyBytes> {
    let mut out = partition_prefix(&index.keys.hash, index.seed, item)?;
    append(&mut out, &index.keys.range, item)?;
    append(&mut out, &table.keys.hash, item)?;
    append(&mut out, &table.keys.range, item)?;
    Some(KeyBytes(out))
}

/// What all keys of an item collection start with: `hash | esc(partition key)`. `None` unless every value can be a
/// key and is not empty.
pub fn collection<'a>(seed: u64, hash_values: impl IntoIterator<Item = ValueRef<'a>>) -> Option<KeyBytes> {
    let mut out = Vec::with_capacity(CAPACITY_BYTES);
    out.resize(HASH_BYTES, 0);
    for value in hash_values {
        component::write(value, &mut out)?;
    }
    Some(KeyBytes(hashed(out, seed)))
}

/// What all keys of an item collection start with, from any of its keys: of the table's, or of a local index's rows.
pub fn collection_of<'k>(keys: &KeySchema, key: &'k [u8]) -> Option<&'k [u8]> {
    let mut rest = key.get(HASH_BYTES..)?;
    for attribute in &keys.hash {
        rest = component::split(attribute.kind, rest)?.1;
    }
    key.get(..key.len() - rest.len())
}

/// Which local index a row belongs to.
pub fn local_index_of(keys: &KeySchema, key: &[u8]) -> Option<IndexId> {
    let collection = collection_of(keys, key)?;
    let id = key.get(collection.len()..collection.len() + 2)?;
    Some(IndexId(u16::from_be_bytes(id.try_into().ok()?)))
}

/// `hash | esc(hash attributes)`.
fn partition_prefix(hash: &[KeyAttribute], seed: u64, item: ItemRef<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(CAPACITY_BYTES);
    out.resize(HASH_BYTES, 0);
    append(&mut out, hash, item)?;
    Some(hashed(out, seed))
}

/// Fills in the hash of the components behind it.
fn hashed(mut out: Vec<u8>, seed: u64) -> Vec<u8> {
    let hash = xxh3_64_with_seed(&out[HASH_BYTES..], seed);
    out[..HASH_BYTES].copy_from_slice(&hash.to_be_bytes());
    out
}

/// Appends the components of these attributes.
fn append(out: &mut Vec<u8>, attributes: &[KeyAttribute], item: ItemRef<'_>) -> Option<()> {
    attributes.iter().try_for_each(|attribute| {
        let value = item.get(&attribute.name)?;
        if value.kind() != attribute.kind.value_type() {
            return None;
        }
        component::write(value, out)
    })
}

#[cfg(test)]
mod tests;
