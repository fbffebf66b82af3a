//! Projections: which parts of an item are sent.

use serde::{Deserialize, Serialize};

use super::{Path, Placeholders};
use crate::error::ApiError;
use crate::item::{Item, ItemRef};

/// Document paths, sorted, none below another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    paths: Vec<Path>,
}

impl Projection {
    /// Parses a `ProjectionExpression`.
    pub fn parse(text: &str, placeholders: &Placeholders<'_>) -> Result<Self, ApiError> {
        let _ = (text, placeholders);
        Err(ApiError::validation("expressions are being built"))
    }

    /// These top-level attributes (an index's projection, keys of a LastEvaluatedKey); duplicates count once.
    pub fn attributes<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut paths: Vec<Path> = names.into_iter().map(|name| Path::attribute(name)).collect();
        paths.sort_unstable();
        paths.dedup();
        Self { paths }
    }

    /// The paths, sorted.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Copies what is projected.
    pub fn apply(&self, item: ItemRef<'_>) -> Result<Item, ApiError> {
        let _ = item;
        Err(ApiError::validation("expressions are being built"))
    }
}
