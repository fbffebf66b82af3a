//! What a Query or Scan reads: a table's items, or the rows of one of its indexes.

use partita_model::error::ApiError;
use partita_model::message::data as message;
use partita_model::request::Target;
use partita_model::schema::{GlobalIndex, IndexProjection, KeySchema, LocalIndex, TableSchema};

/// The rows that a request names.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// The table's items.
    Table(&'a TableSchema),
    /// A local index's rows.
    Local(&'a TableSchema, &'a LocalIndex),
    /// A global index's rows.
    Global(&'a TableSchema, &'a GlobalIndex),
}

impl<'a> Rows<'a> {
    /// Finds the index, if one is named, and checks that it can be read like this.
    pub fn find(schema: &'a TableSchema, index: Option<&str>, consistent: bool) -> Result<Self, ApiError> {
        let Some(name) = index else {
            return Ok(Self::Table(schema));
        };
        if let Some(index) = schema.local.iter().find(|i| i.name == name) {
            return Ok(Self::Local(schema, index));
        }
        let Some(index) = schema.global.iter().find(|i| i.name == name) else {
            return Err(ApiError::validation(message::index_not_found(name)));
        };
        if consistent {
            return Err(ApiError::validation(message::CONSISTENT_GLOBAL));
        }
        if !index.readable {
            return Err(ApiError::validation(message::index_backfilling(name)));
        }
        Ok(Self::Global(schema, index))
    }

    /// The table.
    pub fn schema(self) -> &'a TableSchema {
        match self {
            Self::Table(schema) | Self::Local(schema, _) | Self::Global(schema, _) => schema,
        }
    }

    /// The keys by which the rows are ordered.
    pub fn keys(self) -> &'a KeySchema {
        match self {
            Self::Table(schema) => &schema.keys,
            Self::Local(_, index) => &index.keys,
            Self::Global(_, index) => &index.keys,
        }
    }

    /// For the request to the leader.
    pub fn target(self) -> Target {
        match self {
            Self::Table(_) => Target::Table,
            Self::Local(_, index) => Target::Local(index.id),
            Self::Global(_, index) => Target::Global(index.id),
        }
    }

    /// Whether the rows hold that attribute of an item.
    pub fn hold(self, attribute: &str) -> bool {
        let (schema, keys, projection) = match self {
            Self::Table(_) => return true,
            Self::Local(schema, index) => (schema, &index.keys, &index.projection),
            Self::Global(schema, index) => (schema, &index.keys, &index.projection),
        };
        let projected = match projection {
            IndexProjection::All => true,
            IndexProjection::KeysOnly => false,
            IndexProjection::Include(names) => names.iter().any(|name| name == attribute),
        };
        projected || keys.contains(attribute) || schema.keys.contains(attribute)
    }

    /// Whether the rows hold whole items.
    pub fn hold_all(self) -> bool {
        match self {
            Self::Table(_) => true,
            Self::Local(_, index) => index.projection == IndexProjection::All,
            Self::Global(_, index) => index.projection == IndexProjection::All,
        }
    }
}
