//! Items and keys against the schema, with DynamoDB's words and in its order.

use std::borrow::Cow;

use super::{KeyAttribute, KeySchema, TableSchema};
use crate::error::ApiError;
use crate::item::{ITEM_SIZE_MAX, ItemRef};
use crate::key::{self, KeyBytes};
use crate::message;
use crate::value::{Tag, ValueRef};

/// The largest partition key, in bytes of its value (of all its attributes' values together).
pub const PARTITION_KEY_BYTES_MAX: u64 = 2048;
/// The largest sort key, in bytes of its value (of all its attributes' values together).
pub const SORT_KEY_BYTES_MAX: u64 = 1024;

/// Why a value cannot be the key attribute of an index.
enum IndexKeyFault {
    /// Another type than the index wants.
    Type,
    /// An empty string or binary.
    Empty,
    /// Too large; the bytes it has and may have.
    Size(u64, u64),
}

impl TableSchema {
    /// The checks of PutItem: the key attributes are there and valid, so are those of indexes that the item has.
    /// Returns the primary key bytes.
    pub fn check_put(&self, item: ItemRef<'_>) -> Result<KeyBytes, ApiError> {
        for attribute in self.keys.attributes() {
            let value = item
                .get(&attribute.name)
                .ok_or_else(|| ApiError::validation(message::key_missing(&attribute.name)))?;
            if value.kind() != attribute.kind.value_type() {
                return Err(ApiError::validation(message::key_type_mismatch(
                    &attribute.name,
                    attribute.kind.value_type().name(),
                    value.kind().name(),
                )));
            }
        }
        check_key_values(&self.keys, item)?;
        self.check_index_keys(item)?;
        if item.size() > ITEM_SIZE_MAX {
            return Err(ApiError::validation(message::ITEM_TOO_LARGE));
        }
        self.primary_key(item)
    }

    /// The checks of the `Key` of GetItem, UpdateItem, DeleteItem: exactly the key attributes, valid. Returns the
    /// primary key bytes.
    pub fn check_key(&self, key: ItemRef<'_>) -> Result<KeyBytes, ApiError> {
        let fits = |attribute: &KeyAttribute| {
            key.get(&attribute.name)
                .is_some_and(|value| value.kind() == attribute.kind.value_type())
        };
        if key.iter().count() != self.keys.attributes().count() || !self.keys.attributes().all(fits) {
            return Err(ApiError::validation(message::KEY_DOES_NOT_MATCH));
        }
        check_key_values(&self.keys, key)?;
        self.primary_key(key)
    }

    /// The checks of an item that an update has made of `old`: the key attributes of indexes that it changed are valid,
    /// the size is within limits. (An item may be older than an index that its attributes do not fit.)
    pub fn check_updated(&self, old: Option<ItemRef<'_>>, item: ItemRef<'_>) -> Result<(), ApiError> {
        let changed = |name: &str| old.is_none_or(|old| old.get(name) != item.get(name));
        if let Some((index, attribute, value, fault)) = self.index_key_fault(item, changed) {
            return Err(ApiError::validation(match fault {
                IndexKeyFault::Type => message::INDEX_KEY_UPDATED_TYPE.into(),
                IndexKeyFault::Empty => Cow::Owned(message::index_key_updated_empty(kind_word(value))),
                IndexKeyFault::Size(actual, max) => {
                    message::index_key_too_large(&attribute.name, actual, max, index).into()
                }
            }));
        }
        if item.size() > ITEM_SIZE_MAX {
            return Err(ApiError::validation(message::UPDATED_ITEM_TOO_LARGE));
        }
        Ok(())
    }

    /// The key attributes of indexes that the item has are valid.
    pub fn check_index_keys(&self, item: ItemRef<'_>) -> Result<(), ApiError> {
        let Some((index, attribute, value, fault)) = self.index_key_fault(item, |_| true) else {
            return Ok(());
        };
        Err(ApiError::validation(match fault {
            IndexKeyFault::Type => message::index_key_type_mismatch(
                &attribute.name,
                attribute.kind.value_type().name(),
                value.kind().name(),
                index,
            ),
            IndexKeyFault::Empty => message::index_key_empty(kind_word(value), index, &attribute.name),
            IndexKeyFault::Size(actual, max) => message::index_key_too_large(&attribute.name, actual, max, index),
        }))
    }

    /// What is wrong with the wanted ones of the item's index key attributes; of several indexes, the one whose name
    /// comes first.
    fn index_key_fault<'a>(
        &'a self,
        item: ItemRef<'a>,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<(&'a str, &'a KeyAttribute, ValueRef<'a>, IndexKeyFault)> {
        self.index_keys(item)
            .filter_map(|(index, attribute, value, hash)| {
                Some((index, attribute, value, index_key_fault(attribute, value, hash)?))
            })
            .filter(|(_, attribute, ..)| wanted(&attribute.name))
            .min_by_key(|(index, ..)| *index)
    }

    /// Every index key attribute that the item has: index name, attribute, value, whether it is in the partition key.
    fn index_keys<'a>(
        &'a self,
        item: ItemRef<'a>,
    ) -> impl Iterator<Item = (&'a str, &'a KeyAttribute, ValueRef<'a>, bool)> {
        let local = self.local.iter().map(|index| (index.name.as_str(), &index.keys));
        let global = self.global.iter().map(|index| (index.name.as_str(), &index.keys));
        local.chain(global).flat_map(move |(name, keys)| {
            let hash = keys.hash.iter().map(|attribute| (attribute, true));
            let range = keys.range.iter().map(|attribute| (attribute, false));
            hash.chain(range)
                .filter(|(attribute, _)| !self.keys.contains(&attribute.name))
                .filter_map(move |(attribute, hash)| Some((name, attribute, item.get(&attribute.name)?, hash)))
        })
    }

    fn primary_key(&self, item: ItemRef<'_>) -> Result<KeyBytes, ApiError> {
        key::primary(&self.keys, self.seed, item).ok_or_else(|| ApiError::validation(message::KEY_DOES_NOT_MATCH))
    }
}

/// Key attributes, of which presence and type have been checked, are not empty and not too large.
pub fn check_key_values(keys: &KeySchema, item: ItemRef<'_>) -> Result<(), ApiError> {
    let values = |attributes: &'_ [KeyAttribute]| -> Result<u64, ApiError> {
        let mut bytes = 0;
        for attribute in attributes {
            let Some(value) = item.get(&attribute.name) else {
                continue;
            };
            if is_empty_key(value) {
                return Err(ApiError::validation(message::key_empty(
                    kind_word(value),
                    &attribute.name,
                )));
            }
            bytes += value.size();
        }
        Ok(bytes)
    };
    let (hash, range) = (values(&keys.hash)?, values(&keys.range)?);
    if hash > PARTITION_KEY_BYTES_MAX {
        return Err(ApiError::validation(message::PARTITION_KEY_TOO_LARGE));
    }
    if range > SORT_KEY_BYTES_MAX {
        return Err(ApiError::validation(message::SORT_KEY_TOO_LARGE));
    }
    Ok(())
}

/// Whether an item's key attributes, as far as it has them, are not too large for an index.
pub fn are_index_keys_short(keys: &KeySchema, item: ItemRef<'_>) -> bool {
    let short = |attributes: &[KeyAttribute], max: u64| {
        let mut values = attributes.iter().filter_map(|attribute| item.get(&attribute.name));
        values.all(|value| value.size() <= max)
    };
    short(&keys.hash, PARTITION_KEY_BYTES_MAX) && short(&keys.range, SORT_KEY_BYTES_MAX)
}

fn index_key_fault(attribute: &KeyAttribute, value: ValueRef<'_>, hash: bool) -> Option<IndexKeyFault> {
    let max = if hash {
        PARTITION_KEY_BYTES_MAX
    } else {
        SORT_KEY_BYTES_MAX
    };
    if value.kind() != attribute.kind.value_type() {
        Some(IndexKeyFault::Type)
    } else if is_empty_key(value) {
        Some(IndexKeyFault::Empty)
    } else if value.size() > max {
        Some(IndexKeyFault::Size(value.size(), max))
    } else {
        None
    }
}

/// Whether a value of a key's type is one that keys must not have.
pub fn is_empty_key(value: ValueRef<'_>) -> bool {
    matches!(value.tag(), Tag::String | Tag::Binary) && value.payload().is_empty()
}

/// How messages about empty keys call a value's type.
pub fn kind_word(value: ValueRef<'_>) -> &'static str {
    if value.tag() == Tag::Binary { "binary" } else { "string" }
}
