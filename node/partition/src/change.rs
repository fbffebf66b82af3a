//! The change log.

use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::Origin;
use partita_model::schema::IndexId;

use crate::command::RowChange;
use crate::descriptor::ItemTime;

/// What happened to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Insert,
    /// It was there and is different now.
    Modify,
    /// It is gone.
    Remove,
    /// Nothing: the record copies an existing item into a new index.
    Backfill,
}

/// One record of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRecord {
    /// The write's item time: its place in the log.
    pub time: ItemTime,
    /// What happened.
    pub kind: ChangeKind,
    /// Who asked for it.
    pub origin: Origin,
    /// Whether stream readers are meant to see it.
    pub streamed: bool,
    /// The item's key attributes.
    pub keys: Item,
    /// The item as it was, when the stream's view keeps it.
    pub old: Option<Item>,
    /// The item as it is now, when the stream's view keeps it.
    pub new: Option<Item>,
    /// What happens to rows of global indexes, in this order.
    pub rows: Vec<(IndexId, KeyBytes, RowChange)>,
}
