//! One page of a Query or a Scan: items of a table, rows of a local or of a global index.
//!
//! 1. The target's rows are found: family, range cut to the partition's, names of the key attributes.
//! 2. Rows are read in order; each counts towards the limit and the page's bytes before the filter looks at it.
//! 3. The page ends behind the row that reaches a limit, or with the range.

use std::ops::Bound;

use partita_model::capacity::read_units;
use partita_model::item::{Item, ItemRef};
use partita_model::key::{self, KeyBytes};
use partita_model::request::{PageReply, PageRequest, Refusal, Target};
use partita_model::schema::row::select;
use partita_model::schema::{IndexId, KeySchema};

use crate::descriptor::{PartitionDescriptor, PartitionKind};
use crate::error::PartitionError;
use crate::reader::PartitionReader;
use crate::row::{self, StoreKey};
use crate::storage::{Cursor, Family, Storage, Tier, View};

/// The rows a page is about.
struct Rows<'a> {
    family: Family,
    /// The table's key attributes.
    keys: &'a KeySchema,
    /// The index's key attributes.
    index: Option<&'a KeySchema>,
    /// Only rows of this local index.
    local: Option<IndexId>,
}

impl<S: Storage> PartitionReader<S> {
    /// One page of items or index rows. Items of the page are as of one moment.
    pub fn page(&self, request: &PageRequest, tier: Tier) -> Result<PageReply, PartitionError> {
        let descriptor = self.descriptor();
        let rows = Rows::of(&descriptor, request)?;
        // Whoever asks took the partition for a larger one: what has left must not look like the end of the range.
        if !descriptor.covers(&request.range) {
            return Err(Refusal::WrongRange.into());
        }
        if request.fetch_from_table {
            read(&self.storage().snapshot(), &descriptor, &rows, request, tier)
        } else {
            read(&**self.storage(), &descriptor, &rows, request, tier)
        }
    }
}

impl<'a> Rows<'a> {
    fn of(descriptor: &'a PartitionDescriptor, request: &PageRequest) -> Result<Self, PartitionError> {
        match (&descriptor.kind, request.target) {
            (PartitionKind::Table(schema), Target::Table) if schema.id == request.table => Ok(Self {
                family: Family::Items,
                keys: &schema.keys,
                index: None,
                local: None,
            }),
            (PartitionKind::Table(schema), Target::Local(id)) if schema.id == request.table => Ok(Self {
                family: Family::LocalIndexes,
                keys: &schema.keys,
                index: Some(&schema.local_index(id).ok_or(Refusal::StaleSchema)?.keys),
                local: Some(id),
            }),
            (PartitionKind::Index { base, base_keys, index }, Target::Global(id))
                if *base == request.table && index.id == id =>
            {
                Ok(Self {
                    family: Family::Items,
                    keys: base_keys,
                    index: Some(&index.keys),
                    local: None,
                })
            }
            _ => Err(Refusal::WrongRange.into()),
        }
    }

    /// Whether a row of the family belongs to the target (the rows of all local indexes stand side by side).
    fn contains(&self, key: &[u8]) -> bool {
        self.local.is_none() || key::local_index_of(self.keys, key) == self.local
    }

    /// The key attributes of table and index.
    fn key_item(&self, row: ItemRef<'_>) -> Item {
        select(row, |name| {
            self.keys.contains(name) || self.index.is_some_and(|index| index.contains(name))
        })
    }
}

fn read<V: View>(
    view: &V,
    descriptor: &PartitionDescriptor,
    rows: &Rows<'_>,
    request: &PageRequest,
    tier: Tier,
) -> Result<PageReply, PartitionError> {
    let (from, to) = bounds(descriptor, request);
    let range = (as_slice(&from), as_slice(&to));
    let mut cursor = view.scan(rows.family, range, request.reverse, tier)?;
    let mut page = PageReply::default();
    // Items that are fetched for a local index's rows fill the page as well: they are read, and may be returned.
    let mut fetched = 0;
    while let Some((key, value)) = cursor.next()? {
        let key = row::unkeyed(key);
        if !rows.contains(key) {
            continue;
        }
        let stored = ItemRef::from_stored(value)?;
        page.scanned += 1;
        page.bytes += stored.size();
        fetched += add(&mut page, view, descriptor, rows, request, stored, tier)?;
        let full = request.limit.is_some_and(|limit| page.scanned >= limit);
        if full || page.bytes + fetched >= u64::from(request.bytes_max) {
            page.last = Some((KeyBytes(key.to_vec()), rows.key_item(stored)));
            break;
        }
    }
    Ok(page)
}

/// Filters and projects a row, or the item it stands for. The size of that item, if it was fetched.
fn add<V: View>(
    page: &mut PageReply,
    view: &V,
    descriptor: &PartitionDescriptor,
    rows: &Rows<'_>,
    request: &PageRequest,
    stored: ItemRef<'_>,
    tier: Tier,
) -> Result<u64, PartitionError> {
    let fetched = match (&descriptor.kind, request.fetch_from_table && rows.local.is_some()) {
        (PartitionKind::Table(schema), true) => {
            let key = key::primary(&schema.keys, schema.seed, stored)
                .ok_or_else(|| PartitionError::UnknownFormat("a local index's row has no primary key".to_owned()))?;
            view.get(Family::Items, &row::keyed(schema.id, key.as_bytes()), tier)?
        }
        (PartitionKind::Table(_) | PartitionKind::Index { .. }, _) => None,
    };
    let (item, fetched_bytes) = match fetched.as_deref() {
        Some(bytes) => {
            let item = ItemRef::from_stored(bytes)?;
            page.fetch_half_units += read_units(item.size(), request.consistent).0;
            (item, item.size())
        }
        None => (stored, 0),
    };
    if request.filter.as_ref().is_none_or(|filter| filter.matches(Some(item))) {
        page.count += 1;
        if !request.count_only {
            page.items.push(match &request.projection {
                None => item.to_item(),
                Some(projection) => projection.apply(item),
            });
        }
    }
    Ok(fetched_bytes)
}

/// The request's range, as the store has it; where it has no bound, the partition's.
fn bounds(descriptor: &PartitionDescriptor, request: &PageRequest) -> (Bound<StoreKey>, Bound<StoreKey>) {
    let keyed = |key: &KeyBytes| row::keyed(descriptor.table, key.as_bytes());
    let (start, end) = row::range(descriptor);
    let from = match &request.range.0 {
        Bound::Included(key) if *key > descriptor.start => Bound::Included(keyed(key)),
        Bound::Excluded(key) if *key >= descriptor.start => Bound::Excluded(keyed(key)),
        Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => Bound::Included(start),
    };
    let within = |key: &KeyBytes| descriptor.end.as_ref().is_none_or(|end| key < end);
    let to = match &request.range.1 {
        Bound::Included(key) if within(key) => Bound::Included(keyed(key)),
        Bound::Excluded(key) if within(key) => Bound::Excluded(keyed(key)),
        Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => end.map_or(Bound::Unbounded, Bound::Excluded),
    };
    (from, to)
}

fn as_slice(bound: &Bound<StoreKey>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &key[..])
}
