//! Counts everything again: do rows, counters and indexes say the same?
//!
//! For tests, and for an administrator who wants to know. It reads the whole partition and sees one moment of it; the
//! counters it compares with are of the same moment only while nothing is applied.

use std::collections::BTreeMap;
use std::ops::Bound;

use partita_model::item::ItemRef;
use partita_model::key;
use partita_model::schema::TableSchema;

use crate::descriptor::{PartitionDescriptor, PartitionKind};
use crate::error::PartitionError;
use crate::index::same;
use crate::reader::{Counters, PartitionReader};
use crate::row;
use crate::storage::{Cursor, Family, Storage, Tier, View};

/// At most so many differences are told.
const DIFFERENCES_MAX: usize = 100;

/// What a recount found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// The counts, from the rows.
    pub counted: Counters,
    /// What does not fit, in words.
    pub differences: Vec<String>,
}

impl Verification {
    fn differs(&mut self, what: impl FnOnce() -> String) {
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(what());
        }
    }
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads the whole partition and compares.
pub fn verify<S: Storage>(reader: &PartitionReader<S>) -> Result<Verification, PartitionError> {
    let applied = reader.applied();
    let snapshot = reader.storage().snapshot();
    let mut found = Verification::default();
    let mut expected = Expected::default();
    let (from, to) = row::range(&applied.descriptor);
    let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let range = (Bound::Included(&from[..]), to);
    let mut items = snapshot.scan(Family::Items, range, false, Tier::All)?;
    while let Some((key, value)) = items.next()? {
        let item = ItemRef::parse(value)?;
        found.counted.items += 1;
        found.counted.bytes += item.size();
        if let PartitionKind::Table(schema) = &applied.descriptor.kind {
            expected.add(schema, row::unkeyed(key), item, &mut found);
        }
    }
    if let PartitionKind::Table(schema) = &applied.descriptor.kind {
        let stored = collect(&snapshot, Family::LocalIndexes, range)?;
        compare("local index row", &expected.local, &stored, &mut found);
        let stored = expiry_rows(&snapshot, &applied.descriptor, schema)?;
        compare("expiry row", &expected.expiry, &stored, &mut found);
    }
    found.counted.clock = applied.counters.clock;
    found.counted.trimmed = applied.counters.trimmed;
    // An index whose last row is gone keeps its zero in the counters.
    let mut counters = applied.counters;
    counters.local.retain(|count| count.rows != 0);
    if counters != found.counted {
        let counted = found.counted.clone();
        found.differs(|| format!("counters say {counters:?}, rows say {counted:?}"));
    }
    Ok(found)
}

/// The rows that the items call for.
#[derive(Default)]
struct Expected {
    local: Rows,
    expiry: Rows,
}

impl Expected {
    fn add(&mut self, schema: &TableSchema, key: &[u8], item: ItemRef<'_>, found: &mut Verification) {
        if key::primary(&schema.keys, schema.seed, item).is_none_or(|primary| primary.as_bytes() != key) {
            found.differs(|| format!("an item is stored under another key: {item:?}"));
        }
        let mut collection_bytes = item.size();
        for index in &schema.local {
            if let Some((key, row)) = schema.local_row(index, item) {
                let size = row.as_ref().size();
                collection_bytes += size;
                found.counted.count_local(index.id, 1, size as i64);
                let key = row::keyed(schema.id, key.as_bytes()).to_vec();
                self.local.insert(key, row.into_bytes());
            }
        }
        if !schema.local.is_empty()
            && let Some(collection) = key::collection_of(&schema.keys, key)
        {
            let total = self
                .local
                .entry(row::keyed(schema.id, collection).to_vec())
                .or_default();
            let before = row::decode_size(total).unwrap_or(0);
            *total = (before + collection_bytes).to_be_bytes().to_vec();
        }
        if let Some(seconds) = row::expiry_seconds(schema.time_to_live.as_deref(), Some(item)) {
            let key = row::expiry(schema.id, seconds, key).to_vec();
            self.expiry.insert(key, Vec::new());
        }
    }
}

fn collect<V: View>(view: &V, family: Family, range: (Bound<&[u8]>, Bound<&[u8]>)) -> Result<Rows, PartitionError> {
    let mut cursor = view.scan(family, range, false, Tier::All)?;
    let mut rows = Rows::new();
    while let Some((key, value)) = cursor.next()? {
        rows.insert(key.to_vec(), value.to_vec());
    }
    Ok(rows)
}

/// Expiry rows of the partition's range.
fn expiry_rows<V: View>(
    view: &V,
    descriptor: &PartitionDescriptor,
    schema: &TableSchema,
) -> Result<Rows, PartitionError> {
    let from = row::keyed(schema.id, &[]);
    let end = row::table_end(schema.id);
    let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
    let mut rows = collect(view, Family::Expiry, (Bound::Included(&from[..]), to))?;
    rows.retain(|key, _| row::split_expiry(key).is_some_and(|(_, primary)| descriptor.contains(&primary)));
    Ok(rows)
}

/// Rows that are missing, left over or different, whatever their times.
fn compare(what: &str, expected: &Rows, stored: &Rows, found: &mut Verification) {
    for (key, row) in expected {
        let fits = stored.get(key).is_some_and(|stored| same_row(stored, row));
        if !fits {
            found.differs(|| format!("{what} {key:x?} should be {row:x?}, is {:x?}", stored.get(key)));
        }
    }
    for key in stored.keys().filter(|key| !expected.contains_key(*key)) {
        found.differs(|| format!("{what} {key:x?} belongs to no item"));
    }
}

fn same_row(a: &[u8], b: &[u8]) -> bool {
    match (ItemRef::from_stored(a), ItemRef::from_stored(b)) {
        (Ok(a), Ok(b)) => same(a, b),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => a == b,
    }
}
