//! Conditions and filters.

use serde::{Deserialize, Serialize};

use super::{Kind, Placeholders};
use crate::error::ApiError;
use crate::item::ItemRef;
use crate::schema::KeySchema;

/// A condition or filter, resolved: it can be evaluated against an item in stored form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {}

impl Condition {
    /// Parses a condition (`Kind::Condition`) or filter (`Kind::Filter`).
    pub fn parse(kind: Kind, text: &str, placeholders: &Placeholders<'_>) -> Result<Self, ApiError> {
        let _ = (kind, text, placeholders);
        Err(ApiError::validation("expressions are being built"))
    }

    /// Whether it holds for an item (`None`: there is no item).
    pub fn matches(&self, item: Option<ItemRef<'_>>) -> bool {
        let _ = item;
        false
    }

    /// A Query's filter must not name key attributes (of the table or index that is queried). `legacy` is whether it
    /// came as `QueryFilter`.
    pub fn check_not_on_keys(&self, keys: &KeySchema, legacy: bool) -> Result<(), ApiError> {
        let _ = (keys, legacy);
        Ok(())
    }

    /// The top-level attributes it looks at (a local index may not hold them).
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}
