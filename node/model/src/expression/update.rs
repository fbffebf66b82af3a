//! Updates.

use serde::{Deserialize, Serialize};

use super::Placeholders;
use crate::error::ApiError;
use crate::item::{Item, ItemRef};
use crate::schema::KeySchema;

/// An update expression, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {}

impl Update {
    /// Parses an `UpdateExpression`.
    pub fn parse(text: &str, placeholders: &Placeholders<'_>) -> Result<Self, ApiError> {
        let _ = (text, placeholders);
        Err(ApiError::validation("expressions are being built"))
    }

    /// An update without actions: the item is made if there is none (UpdateItem without an expression).
    pub fn nothing() -> Self {
        Self {}
    }

    /// Refuses updates of the table's key attributes.
    pub fn check_not_on_keys(&self, keys: &KeySchema) -> Result<(), ApiError> {
        let _ = keys;
        Ok(())
    }

    /// The item as it is after the update; `key` is the item's key attributes, used when there is no item yet.
    /// The new item is checked: nesting and size.
    pub fn apply(&self, old: Option<ItemRef<'_>>, key: ItemRef<'_>) -> Result<Item, ApiError> {
        let _ = (old, key);
        Err(ApiError::validation("expressions are being built"))
    }

    /// `UPDATED_OLD`: what the update touches, as it was; `None` when nothing of it was there.
    pub fn updated_old(&self, old: Option<ItemRef<'_>>) -> Option<Item> {
        let _ = old;
        None
    }

    /// `UPDATED_NEW`: what the update touches, as it is now; `None` when nothing of it is there.
    pub fn updated_new(&self, new: ItemRef<'_>) -> Option<Item> {
        let _ = new;
        None
    }
}
