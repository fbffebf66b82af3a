//! Keys of rows as the store has them: the table's id in front of everything.
//!
//! | family | key |
//! |---|---|
//! | Items | `table, key bytes` |
//! | LocalIndexes | `table, key bytes` of a row; `table, collection` of an item collection's size |
//! | Expiry | `table, seconds, primary key bytes` |
//! | Changes | `table, group, item time` |
//! | Meta | `table, group, kind, …` |

use partita_model::item::ItemRef;
use partita_model::key::KeyBytes;
use partita_model::schema::TableId;
use smallvec::SmallVec;

use crate::descriptor::{GroupId, ItemTime, PartitionDescriptor};

/// A key as the store has it; most fit without an allocation.
pub type StoreKey = SmallVec<[u8; 96]>;

/// Bytes of the table's id.
pub const TABLE_BYTES: usize = 8;
/// Bytes of an expiry row's key before the primary key.
const EXPIRY_PREFIX_BYTES: usize = TABLE_BYTES + 8;

/// Kinds of rows in the Meta family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MetaKind {
    /// The partition's descriptor.
    Descriptor = 1,
    /// Applied log position and counters.
    State = 2,
    /// How far a source's change log has been delivered; the source's group id follows.
    Position = 3,
    /// The members of the group, as of the applied log position: the replication's own bytes.
    Members = 4,
    /// Where the partition comes from, and the last splits and merges.
    Lineage = 5,
    /// That the partition stands still, to be absorbed by another one.
    Freeze = 6,
}

/// A row of the Items or LocalIndexes family.
pub fn keyed(table: TableId, key: &[u8]) -> StoreKey {
    let mut out = StoreKey::with_capacity(TABLE_BYTES + key.len());
    out.extend_from_slice(&table.0.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// What is behind the table's id.
pub fn unkeyed(key: &[u8]) -> &[u8] {
    key.get(TABLE_BYTES..).unwrap_or_default()
}

/// The first key behind all rows of a table; `None` for the last id there is.
pub fn table_end(table: TableId) -> Option<StoreKey> {
    table.0.checked_add(1).map(|next| keyed(TableId(next), &[]))
}

/// A partition's rows in Items and LocalIndexes: from (inclusive), to (exclusive; `None`: the end of the family).
pub fn range(descriptor: &PartitionDescriptor) -> (StoreKey, Option<StoreKey>) {
    let from = keyed(descriptor.table, descriptor.start.as_bytes());
    let to = match &descriptor.end {
        Some(end) => Some(keyed(descriptor.table, end.as_bytes())),
        None => table_end(descriptor.table),
    };
    (from, to)
}

/// A row of the Expiry family.
pub fn expiry(table: TableId, seconds: u64, key: &[u8]) -> StoreKey {
    let mut out = keyed(table, &seconds.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// Seconds and primary key bytes of a row of the Expiry family.
pub fn split_expiry(key: &[u8]) -> Option<(u64, KeyBytes)> {
    let seconds = key.get(TABLE_BYTES..EXPIRY_PREFIX_BYTES)?.try_into().ok()?;
    let primary = key.get(EXPIRY_PREFIX_BYTES..)?;
    Some((u64::from_be_bytes(seconds), KeyBytes(primary.to_vec())))
}

/// A row of the Changes family.
pub fn change(table: TableId, group: GroupId, time: ItemTime) -> StoreKey {
    let mut out = keyed(table, &group.0.to_be_bytes());
    out.extend_from_slice(&time.0.to_be_bytes());
    out
}

/// What the Meta rows of a partition start with.
pub fn meta_prefix(table: TableId, group: GroupId) -> StoreKey {
    keyed(table, &group.0.to_be_bytes())
}

/// A row of the Meta family.
pub fn meta(table: TableId, group: GroupId, kind: MetaKind) -> StoreKey {
    let mut out = meta_prefix(table, group);
    out.push(kind as u8);
    out
}

/// The source whose position a row of the Meta family is.
pub fn position_source(key: &[u8]) -> Option<GroupId> {
    let (&kind, source) = key.get(TABLE_BYTES + 8..)?.split_first()?;
    let source = source.try_into().ok().filter(|_| kind == MetaKind::Position as u8)?;
    Some(GroupId(u64::from_be_bytes(source)))
}

/// Where a source's position is.
pub fn position(table: TableId, group: GroupId, source: GroupId) -> StoreKey {
    let mut out = meta(table, group, MetaKind::Position);
    out.extend_from_slice(&source.0.to_be_bytes());
    out
}

/// When an item expires, in epoch seconds: the value of its time-to-live attribute, when that is a whole number from 0
/// on.
pub fn expiry_seconds(attribute: Option<&str>, item: Option<ItemRef<'_>>) -> Option<u64> {
    let number = item?.get(attribute?)?.as_number()?.to_i64()?;
    u64::try_from(number).ok()
}

/// The size in an item collection's row.
pub fn decode_size(row: &[u8]) -> Result<u64, crate::error::PartitionError> {
    let bytes = row
        .try_into()
        .map_err(|_| crate::error::PartitionError::UnknownFormat("item collection's size".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The time in a change record's key.
pub fn change_time(key: &[u8]) -> Option<ItemTime> {
    let time = key.get(TABLE_BYTES + 8..)?.try_into().ok()?;
    Some(ItemTime(u64::from_be_bytes(time)))
}

/// Whether a row of the Meta family is the members'.
pub fn is_members(key: &[u8]) -> bool {
    key.len() == TABLE_BYTES + 9 && key.ends_with(&[MetaKind::Members as u8])
}

/// Whether a row of the Meta family is a descriptor.
pub fn is_descriptor(key: &[u8]) -> bool {
    key.len() == TABLE_BYTES + 9 && key.ends_with(&[MetaKind::Descriptor as u8])
}
