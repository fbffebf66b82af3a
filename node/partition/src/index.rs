//! What a write does to the rows of an item's indexes, and what that costs.

use partita_model::capacity::{HalfUnits, write_units};
use partita_model::item::{Item, ItemRef};
use partita_model::key::KeyBytes;
use partita_model::schema::{GlobalIndex, IndexId, LocalIndex, TableSchema};

/// Where an item's stored form goes on behind version and time.
const BEHIND_TIME: usize = 9;

/// Whether two items have the same attributes, whatever their times.
pub fn same(a: ItemRef<'_>, b: ItemRef<'_>) -> bool {
    a.as_bytes().get(BEHIND_TIME..) == b.as_bytes().get(BEHIND_TIME..)
}

/// One index's row before and after a write.
#[derive(Debug)]
pub struct RowDiff {
    /// The index.
    pub index: IndexId,
    /// The row as it was.
    pub old: Option<(KeyBytes, Item)>,
    /// The row as it is to be.
    pub new: Option<(KeyBytes, Item)>,
}

impl RowDiff {
    /// What the write does to the table's local indexes.
    pub fn local<'a>(
        schema: &'a TableSchema,
        old: Option<ItemRef<'a>>,
        new: Option<ItemRef<'a>>,
    ) -> impl Iterator<Item = Self> + 'a {
        let diff = move |index: &LocalIndex| Self {
            index: index.id,
            old: old.and_then(|item| schema.local_row(index, item)),
            new: new.and_then(|item| schema.local_row(index, item)),
        };
        schema.local.iter().map(diff).filter(Self::changes)
    }

    /// What the write does to the table's global indexes.
    pub fn global<'a>(
        schema: &'a TableSchema,
        old: Option<ItemRef<'a>>,
        new: Option<ItemRef<'a>>,
    ) -> impl Iterator<Item = Self> + 'a {
        let diff = move |index: &GlobalIndex| Self {
            index: index.id,
            old: old.and_then(|item| schema.global_row(index, item)),
            new: new.and_then(|item| schema.global_row(index, item)),
        };
        schema.global.iter().map(diff).filter(Self::changes)
    }

    /// Whether the row has to be written.
    fn changes(&self) -> bool {
        match (&self.old, &self.new) {
            (None, None) => false,
            (Some((old_key, old)), Some((new_key, new))) => old_key != new_key || !same(old.as_ref(), new.as_ref()),
            (None, Some(_)) | (Some(_), None) => true,
        }
    }

    /// The old row's key, when it has to be removed.
    pub fn removed(&self) -> Option<&KeyBytes> {
        let (old, _) = self.old.as_ref()?;
        let stays = self.new.as_ref().is_some_and(|(new, _)| new == old);
        (!stays).then_some(old)
    }

    /// The price: a row that moves is removed and put; one that stays costs the larger of its sizes.
    ///
    /// Source: "Global secondary indexes: write capacity units", Amazon DynamoDB Developer Guide.
    pub fn cost(&self) -> HalfUnits {
        let units =
            |row: &Option<(KeyBytes, Item)>| row.as_ref().map_or(HalfUnits(0), |(_, row)| write_units(size(row)));
        match self.removed() {
            None => units(&self.old).max(units(&self.new)),
            Some(_) => units(&self.old) + units(&self.new),
        }
    }

    /// Rows and bytes more (or fewer).
    pub fn growth(&self) -> (i64, i64) {
        let count = |row: &Option<(KeyBytes, Item)>| row.as_ref().map_or((0, 0), |(_, row)| (1, size(row) as i64));
        let (old, new) = (count(&self.old), count(&self.new));
        (new.0 - old.0, new.1 - old.1)
    }
}

fn size(row: &Item) -> u64 {
    row.as_ref().size()
}
