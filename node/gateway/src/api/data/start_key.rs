//! `ExclusiveStartKey`: from the key attributes of a page's last row to the place behind it.

use partita_model::error::ApiError;
use partita_model::item::{Item, ItemRef};
use partita_model::key::{self, KeyBytes};
use partita_model::message::data as message;
use partita_model::schema::KeySchema;
use partita_model::wire::WireItem;

use super::rows::Rows;

/// The values, checked by themselves.
pub fn parse(start: Option<WireItem>) -> Result<Option<Item>, ApiError> {
    let item = start.map(WireItem::into_item).transpose();
    item.map_err(|error| ApiError::validation(message::start_key_invalid(&error.message)))
}

/// The key bytes of the row that a start key names: it has exactly the key attributes of the table and the index.
pub fn key_bytes(rows: Rows<'_>, start: ItemRef<'_>) -> Result<KeyBytes, ApiError> {
    let schema = rows.schema();
    let (index, key) = match rows {
        Rows::Table(_) => {
            let key = schema.check_key(start);
            return key.map_err(|error| ApiError::validation(message::start_key_invalid(&error.message)));
        }
        Rows::Local(_, index) => (&index.keys, key::local_row(schema, index, start)),
        Rows::Global(_, index) => (&index.keys, key::global_row(schema, index, start)),
    };
    let complete = start.iter().count() == attributes_of_both(&schema.keys, index);
    key.filter(|_| complete)
        .ok_or_else(|| ApiError::validation(message::START_KEY_INVALID))
}

/// How many attributes the keys of a table and of its index have together.
fn attributes_of_both(table: &KeySchema, index: &KeySchema) -> usize {
    let more = index.attributes().filter(|attribute| !table.contains(&attribute.name));
    table.attributes().count() + more.count()
}
