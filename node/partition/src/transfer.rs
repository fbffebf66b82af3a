//! A partition's rows on their way to another store: a head, then chunks of rows in a fixed order.
//!
//! 1. [`head`] reads what the partition knows of itself from a view.
//! 2. [`export`] reads rows of the same view from a [`Place`] on, up to a bound, and says where to go on.
//! 3. [`import`] writes a chunk's rows at the receiver, and rebuilds the rows that do not travel (expiry).
//!
//! Keys travel without the table's id. A chunk is `format u8 | (family u8, key, value)*`, lengths as varints.

use std::ops::Bound;

use partita_model::item::ItemRef;
use partita_model::schema::TableId;

use crate::codec::{Reader, put_bytes};
use crate::descriptor::{self, GroupId, LogPosition, PartitionDescriptor};
use crate::error::PartitionError;
use crate::row::{self, MetaKind, StoreKey};
use crate::split::Lineage;
use crate::state;
use crate::storage::{Batch, Cursor as _, Family, Tier, View};

/// The format of a chunk: its first byte.
const FORMAT: u8 = 1;
/// The families whose rows travel, in this order.
const FAMILIES: [Family; 4] = [Family::Items, Family::LocalIndexes, Family::Changes, Family::Meta];

/// What a partition knows of itself, in stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The descriptor's row.
    pub descriptor: Vec<u8>,
    /// The row of counters and log position.
    pub state: Vec<u8>,
    /// The row of the group's members, if there is one: it is the replication's.
    pub members: Option<Vec<u8>>,
    /// Groups that the partition has absorbed.
    pub absorbed: Vec<(GroupId, LogPosition)>,
    /// Groups that were split off from it, the last few.
    pub children: Vec<GroupId>,
    /// The last log entry applied in the view.
    pub at: LogPosition,
}

impl Head {
    /// The descriptor.
    pub fn descriptor(&self) -> Result<PartitionDescriptor, PartitionError> {
        descriptor::from_stored(&self.descriptor)
    }
}

/// Where to go on in a partition's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// How many families are done.
    family: usize,
    /// The last key that was read, as stored.
    after: Option<Vec<u8>>,
}

/// Reads a partition's head; `None` if it is not there.
pub fn head(view: &impl View, table: TableId, group: GroupId) -> Result<Option<Head>, PartitionError> {
    let get = |kind| -> Result<Option<Vec<u8>>, PartitionError> {
        let value = view.get(Family::Meta, &row::meta(table, group, kind), Tier::All)?;
        Ok(value.map(|value| value.to_vec()))
    };
    let (Some(descriptor), Some(state)) = (get(MetaKind::Descriptor)?, get(MetaKind::State)?) else {
        return Ok(None);
    };
    let lineage = match get(MetaKind::Lineage)? {
        Some(lineage) => Lineage::decode(&lineage)?,
        None => Lineage::default(),
    };
    Ok(Some(Head {
        descriptor,
        at: applied(&state)?,
        state,
        members: get(MetaKind::Members)?,
        absorbed: lineage.absorbed(),
        children: lineage.splits.iter().map(|done| done.child).collect(),
    }))
}

/// The last log entry applied, from a head's row of counters and position.
pub fn applied(state: &[u8]) -> Result<LogPosition, PartitionError> {
    Ok(state::decode(state)?.0)
}

/// The next chunk of a partition's rows, of about so many bytes, and where to go on; `None` at the end.
pub fn export(
    view: &impl View,
    descriptor: &PartitionDescriptor,
    from: &Place,
    bytes_max: usize,
) -> Result<(Vec<u8>, Option<Place>), PartitionError> {
    let mut chunk = vec![FORMAT];
    let mut place = from.clone();
    while let Some(family) = FAMILIES.get(place.family) {
        let (first, end) = range(descriptor, *family);
        let lower = match &place.after {
            Some(after) => Bound::Excluded(&after[..]),
            None => Bound::Included(&first[..]),
        };
        let upper = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let mut cursor = view.scan(*family, (lower, upper), false, Tier::Passing)?;
        while let Some((key, value)) = cursor.next()? {
            if *family == Family::Meta && row::is_members(key) {
                continue;
            }
            chunk.push(*family as u8);
            put_bytes(&mut chunk, row::unkeyed(key));
            put_bytes(&mut chunk, value);
            if chunk.len() >= bytes_max {
                place.after = Some(key.to_vec());
                return Ok((chunk, Some(place)));
            }
        }
        let family = place.family + 1;
        place = Place { family, after: None };
    }
    Ok((chunk, None))
}

/// The rows of a family that travel: from (inclusive), to (exclusive; `None`: the end of the family).
fn range(descriptor: &PartitionDescriptor, family: Family) -> (StoreKey, Option<StoreKey>) {
    match family {
        Family::Items | Family::LocalIndexes => row::range(descriptor),
        Family::Changes => changes(descriptor),
        // Positions, lineage and freeze: the rest is the head's.
        Family::Meta | Family::Expiry => (
            row::meta(descriptor.table, descriptor.group, MetaKind::Position),
            group_end(descriptor),
        ),
    }
}

/// The rows of a partition's change log: from (inclusive), to (exclusive; `None`: the end of the family).
pub(crate) fn changes(descriptor: &PartitionDescriptor) -> (StoreKey, Option<StoreKey>) {
    let from = row::meta_prefix(descriptor.table, descriptor.group);
    (from, group_end(descriptor))
}

fn group_end(descriptor: &PartitionDescriptor) -> Option<StoreKey> {
    match descriptor.group.0.checked_add(1) {
        Some(next) => Some(row::meta_prefix(descriptor.table, GroupId(next))),
        None => row::table_end(descriptor.table),
    }
}

/// Adds a chunk's rows to a batch, under the descriptor's table.
pub fn import<B: Batch>(batch: &mut B, descriptor: &PartitionDescriptor, chunk: &[u8]) -> Result<(), PartitionError> {
    let mut reader = Reader::new(chunk, "a snapshot's chunk");
    if reader.byte()? != FORMAT {
        return Err(reader.unknown());
    }
    let expires = descriptor.schema().and_then(|schema| schema.time_to_live.as_deref());
    while !reader.is_empty() {
        let family = Family::from_number(reader.byte()?).filter(|family| FAMILIES.contains(family));
        let family = family.ok_or_else(|| reader.unknown())?;
        let (key, value) = (reader.bytes()?, reader.bytes()?);
        batch.put(family, &row::keyed(descriptor.table, key), value);
        if family == Family::Items
            && expires.is_some()
            && let Some(seconds) = row::expiry_seconds(expires, Some(ItemRef::from_stored(value)?))
        {
            batch.put(Family::Expiry, &row::expiry(descriptor.table, seconds, key), &[]);
        }
    }
    Ok(())
}
