//! What an index holds of an item, and what names a row.

use super::check::{SORT_KEY_BYTES_MAX, are_index_keys_short};
use super::{GlobalIndex, IndexProjection, KeySchema, LocalIndex, TableSchema};
use crate::item::{Item, ItemBuilder, ItemRef};
use crate::key::{self, KeyBytes};

impl TableSchema {
    /// The item's primary key attributes, as an item.
    pub fn key_item(&self, item: ItemRef<'_>) -> Item {
        select(item, |name| self.keys.contains(name))
    }

    /// The key attributes of table and index (a row of the index has them all), as an item: what a page's
    /// `LastEvaluatedKey` holds.
    pub fn index_key_item(&self, index: &KeySchema, item: ItemRef<'_>) -> Item {
        select(item, |name| self.keys.contains(name) || index.contains(name))
    }

    /// The item's row in a local index: its key bytes and what it holds. `None` when the item has no row there.
    pub fn local_row(&self, index: &LocalIndex, item: ItemRef<'_>) -> Option<(KeyBytes, Item)> {
        let key = key::local_row(self, index, item)?;
        Some((key, self.projected(&index.keys, &index.projection, item)))
    }

    /// The item's row in a global index: its key bytes and what it holds. `None` when the item has no row there, as one that was
    /// written before there was the index, with a value that is too long for its keys.
    ///
    /// Source: "Detecting and correcting index key violations", Amazon DynamoDB Developer Guide.
    pub fn global_row(&self, index: &GlobalIndex, item: ItemRef<'_>) -> Option<(KeyBytes, Item)> {
        let key = key::global_row(self, index, item)?;
        if key.0.len() as u64 > SORT_KEY_BYTES_MAX && !are_index_keys_short(&index.keys, item) {
            return None;
        }
        Some((key, self.projected(&index.keys, &index.projection, item)))
    }

    /// What an index holds of an item that has a row in it: keys and projected attributes. It keeps the item's time.
    pub fn projected(&self, keys: &KeySchema, projection: &IndexProjection, item: ItemRef<'_>) -> Item {
        match projection {
            IndexProjection::All => item.to_item(),
            IndexProjection::KeysOnly => self.index_key_item(keys, item),
            IndexProjection::Include(names) => select(item, |name| {
                self.keys.contains(name) || keys.contains(name) || names.iter().any(|n| n == name)
            }),
        }
    }
}

/// A copy with only the attributes whose name is wanted. It keeps the item's time.
pub fn select(item: ItemRef<'_>, wanted: impl Fn(&str) -> bool) -> Item {
    let mut builder = ItemBuilder::new();
    for (name, value) in item.iter().filter(|(name, _)| wanted(name)) {
        builder.push(name, value);
    }
    let mut selected = builder.finish();
    selected.set_time(item.time());
    selected
}
