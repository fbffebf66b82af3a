//! What BatchGetItem and BatchWriteItem share: the tables of a batch and their units.

use std::sync::Arc;

use partita_model::schema::TableSchema;

use super::consumed::{Consumed, ReturnConsumed};
use super::write::{Members, write_list};

/// A table of a batch, and what the batch has used of it.
#[derive(Debug)]
pub struct BatchTable {
    /// Its name as the request has it.
    pub name: String,
    /// Its schema.
    pub schema: Arc<TableSchema>,
    /// Units of what has been done; `None` when nothing was.
    pub consumed: Option<Consumed>,
}

impl BatchTable {
    /// Adds the units of one of the batch's requests.
    pub fn add(&mut self, consumed: &Consumed) {
        self.consumed.get_or_insert_default().add(consumed);
    }
}

/// Writes `ConsumedCapacity`, a list with an element for each table.
pub fn write_consumed(members: &mut Members<'_>, mode: ReturnConsumed, tables: &[BatchTable]) {
    if mode == ReturnConsumed::None {
        return;
    }
    let used = tables
        .iter()
        .filter_map(|table| Some((table, table.consumed.as_ref()?)));
    write_list(members.member("ConsumedCapacity"), used, |out, (table, consumed)| {
        consumed.write(out, mode, &table.name, &table.schema);
    });
}
