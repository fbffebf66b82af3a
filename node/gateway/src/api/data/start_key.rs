//! `ExclusiveStartKey`: from the key attributes of a page's last row to the place behind it.

use partita_model::error::ApiError;
use partita_model::item::{Item, ItemRef};
use partita_model::key::{self, KeyBytes};
use partita_model::message::KEY_DOES_NOT_MATCH;
use partita_model::message::data as message;
use partita_model::schema::KeySchema;
use partita_model::wire::WireItem;

use super::rows::Rows;

/// The values, checked by themselves.
pub fn parse(start: Option<WireItem>) -> Result<Option<Item>, ApiError> {
    let item = start.map(WireItem::into_item).transpose();
    item.map_err(|error| ApiError::validation(message::start_key_invalid(&error.message)))
}

/// Whether a start key has exactly the key attributes of the table and the index, of whatever types.
fn has_attributes_of(rows: Rows<'_>, start: ItemRef<'_>) -> bool {
    let named = |(name, _): (&str, _)| rows.schema().keys.contains(name) || rows.keys().contains(name);
    start.iter().count() == attributes_of_both(&rows.schema().keys, rows.keys()) && start.iter().all(named)
}

/// The key bytes of the row that a start key names: it has exactly the key attributes of the table and the index. Only
/// the Scan of a table says that this is what is wrong.
pub fn key_bytes(rows: Rows<'_>, start: ItemRef<'_>, scan: bool) -> Result<KeyBytes, ApiError> {
    let schema = rows.schema();
    let key = match rows {
        Rows::Table(_) => schema.check_key(start),
        Rows::Local(_, index) => key::local_row(schema, index, start).ok_or_else(mismatch),
        Rows::Global(_, index) => key::global_row(schema, index, start).ok_or_else(mismatch),
    };
    let key = key.and_then(|key| has_attributes_of(rows, start).then_some(key).ok_or_else(mismatch));
    let reasoned = scan && matches!(rows, Rows::Table(_));
    key.map_err(|error| {
        if reasoned || error.message != KEY_DOES_NOT_MATCH {
            ApiError::validation(message::start_key_invalid(&error.message))
        } else {
            ApiError::validation(message::START_KEY_INVALID)
        }
    })
}

fn mismatch() -> ApiError {
    ApiError::validation(KEY_DOES_NOT_MATCH)
}

/// How many attributes the keys of a table and of its index have together.
fn attributes_of_both(table: &KeySchema, index: &KeySchema) -> usize {
    let more = index.attributes().filter(|attribute| !table.contains(&attribute.name));
    table.attributes().count() + more.count()
}
