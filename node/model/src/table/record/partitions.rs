//! How many partitions a table or index starts with, where they begin, and what each is told of itself.

use std::fmt;
use std::sync::Arc;

use super::{IndexRecord, PartitionRecord, Record, derived};
use crate::key::KeyBytes;
use crate::partition::{GroupId, PartitionDescriptor, PartitionKind};
use crate::schema::{TableId, TableSchema};
use crate::table::{BillingMode, Throughput};

/// Read units that one partition serves. Source: "Partitions and data distribution", DynamoDB Developer Guide.
const PARTITION_READ_UNITS: u64 = 3000;
/// Write units that one partition serves. Same source.
const PARTITION_WRITE_UNITS: u64 = 1000;
/// What is left over is worth a further partition from so many parts of 3,000 on (a tenth): 4,000 writes with a few
/// reads beside them are four partitions, each asked for 2 % more than its share, and not five.
const REMAINDER_MIN: u64 = PARTITION_READ_UNITS / 10;

/// Partitions for these units: `ceil(RCU/3000 + WCU/1000)`, where less than a tenth of a partition does not count, and at
/// least one. On demand it is one, unless warm throughput asks for more.
pub(super) fn count(billing: BillingMode, units: Throughput, warm: Option<Throughput>, most: u64) -> u64 {
    let declared = match billing {
        BillingMode::Provisioned => Some(units),
        BillingMode::PayPerRequest => None,
    };
    let wanted = |units: Throughput| {
        // In units of 1/3000 of a partition, so that the sum is exact before it is rounded up.
        let writes = units.write.saturating_mul(PARTITION_READ_UNITS / PARTITION_WRITE_UNITS);
        let parts = units.read.saturating_add(writes);
        parts / PARTITION_READ_UNITS + u64::from(parts % PARTITION_READ_UNITS > REMAINDER_MIN)
    };
    let wanted = declared.into_iter().chain(warm).map(wanted).max();
    wanted.unwrap_or(1).clamp(1, most.max(1))
}

/// The first partitions of a table or index: they share the hashes evenly, for keys begin with the big-endian hash of
/// the partition key. Their groups follow from the id and the place.
pub(super) fn even(id: TableId, count: u64) -> Vec<PartitionRecord> {
    let hashes = u128::from(u64::MAX) + 1;
    (0..count)
        .map(|place| {
            let first_hash = (hashes * u128::from(place) / u128::from(count)) as u64;
            PartitionRecord {
                group: group(id, place),
                start: KeyBytes(match place {
                    0 => Vec::new(),
                    _ => first_hash.to_be_bytes().to_vec(),
                }),
            }
        })
        .collect()
}

/// One partition's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its group.
    pub group: GroupId,
    /// Its first key.
    pub start: KeyBytes,
    /// The first key behind it.
    pub end: Option<KeyBytes>,
}

impl Piece {
    pub(super) fn into_record(self) -> PartitionRecord {
        PartitionRecord {
            group: self.group,
            start: self.start,
        }
    }
}

/// Keys that no partition has, or that more than one has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} the keys {keys}", keys = Keys(.from, .to))]
pub struct Gap {
    what: &'static str,
    from: KeyBytes,
    to: Option<KeyBytes>,
}

struct Keys<'a>(&'a KeyBytes, &'a Option<KeyBytes>);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = hex::encode(&self.0.0);
        let to = self.1.as_ref().map(|to| hex::encode(&to.0));
        match (from.as_str(), to) {
            ("", None) => f.write_str("at all"),
            ("", Some(to)) => write!(f, "up to {to}"),
            (from, None) => write!(f, "from {from} on"),
            (from, Some(to)) => write!(f, "from {from} to {to}"),
        }
    }
}

/// Partitions in key order, if every key has exactly one.
pub fn cover(mut pieces: Vec<Piece>) -> Result<Vec<PartitionRecord>, Gap> {
    pieces.sort_by(|one, other| one.start.cmp(&other.start));
    let nobody = |from: &KeyBytes, to: Option<&KeyBytes>| {
        Err(Gap {
            what: "no partition has",
            from: from.clone(),
            to: to.cloned(),
        })
    };
    // Where the next piece has to begin; `None` behind the last key.
    let mut next = Some(KeyBytes::default());
    for piece in &pieces {
        match &next {
            Some(expected) if piece.start > *expected => return nobody(expected, Some(&piece.start)),
            Some(expected) if piece.start == *expected => next = piece.end.clone(),
            Some(_) | None => {
                return Err(Gap {
                    what: "more than one partition has",
                    from: piece.start.clone(),
                    to: next,
                });
            }
        }
    }
    match &next {
        Some(from) => nobody(from, None),
        None => Ok(pieces.into_iter().map(Piece::into_record).collect()),
    }
}

/// 63 bits (raft's members fit, too) that are not zero (which means nobody to raft).
fn group(id: TableId, place: u64) -> GroupId {
    GroupId((derived(id, "group", place) >> 1).max(1))
}

impl Record {
    /// What the table's partitions are told of themselves, in key order.
    pub fn table_descriptors(&self) -> Vec<PartitionDescriptor> {
        let schema = Arc::new(self.schema());
        descriptors(self.id, &PartitionKind::Table(schema), &self.partitions)
    }

    /// What a global index's partitions are told of themselves, in key order; none while the index is being removed.
    pub fn index_descriptors(&self, index: &IndexRecord) -> Vec<PartitionDescriptor> {
        let schema: TableSchema = self.schema();
        let Some(declared) = schema.global.iter().find(|declared| declared.id == index.id) else {
            return Vec::new();
        };
        let kind = PartitionKind::Index {
            base: schema.id,
            base_keys: schema.keys.clone(),
            index: declared.clone(),
        };
        descriptors(index.table, &kind, &index.partitions)
    }
}

fn descriptors(table: TableId, kind: &PartitionKind, partitions: &[PartitionRecord]) -> Vec<PartitionDescriptor> {
    let ends = partitions
        .iter()
        .skip(1)
        .map(|next| Some(next.start.clone()))
        .chain([None]);
    let described = partitions.iter().zip(ends).map(|(partition, end)| PartitionDescriptor {
        group: partition.group,
        table,
        kind: kind.clone(),
        start: partition.start.clone(),
        end,
        range_epoch: 1,
        membership_epoch: 1,
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 64;

    fn provisioned(read: u64, write: u64) -> u64 {
        count(BillingMode::Provisioned, Throughput { read, write }, None, MOST)
    }

    #[test]
    fn units_become_partitions() {
        assert_eq!(provisioned(1, 1), 1);
        assert_eq!(provisioned(3000, 0), 1);
        assert_eq!(provisioned(1500, 500), 1);
        assert_eq!(provisioned(1801, 500), 2);
        assert_eq!(provisioned(0, 4000), 4);
        assert_eq!(provisioned(u64::MAX, u64::MAX), MOST);
        let none = Throughput::default();
        assert_eq!(count(BillingMode::PayPerRequest, none, None, MOST), 1);
        let warm = Throughput {
            read: 12_000,
            write: 4000,
        };
        assert_eq!(count(BillingMode::PayPerRequest, none, Some(warm), MOST), 8);
    }

    #[test]
    fn a_remainder_below_a_tenth_is_no_partition() {
        assert_eq!(provisioned(300, 4000), 4);
        assert_eq!(provisioned(301, 4000), 5);
        assert_eq!(provisioned(1, 1000), 1);
        assert_eq!(provisioned(1, 9000), 9);
    }

    #[test]
    fn ranges_are_even_and_begin_at_the_empty_key() {
        let four = even(TableId(7), 4);
        let starts: Vec<String> = four.iter().map(|p| hex::encode(&p.start.0)).collect();
        assert_eq!(starts, ["", "4000000000000000", "8000000000000000", "c000000000000000"]);
    }

    #[test]
    fn a_key_with_two_partitions_is_found() {
        let key = |byte| KeyBytes(vec![byte]);
        let piece = |group, start, end| Piece {
            group: GroupId(group),
            start,
            end,
        };
        let pieces = vec![
            piece(2, key(0x40), None),
            piece(1, KeyBytes::default(), Some(key(0x80))),
        ];
        assert_eq!(
            cover(pieces).unwrap_err().to_string(),
            "more than one partition has the keys from 40 to 80"
        );
        let twice = vec![piece(1, KeyBytes::default(), None), piece(1, KeyBytes::default(), None)];
        assert_eq!(
            cover(twice).unwrap_err().to_string(),
            "more than one partition has the keys at all"
        );
        let pieces = vec![
            piece(2, key(0x80), None),
            piece(1, KeyBytes::default(), Some(key(0x80))),
        ];
        assert_eq!(cover(pieces).unwrap()[1].group, GroupId(2));
    }

    #[test]
    fn groups_follow_from_the_table_and_differ() {
        let (one, again, other) = (even(TableId(7), 4), even(TableId(7), 4), even(TableId(8), 4));
        assert_eq!(one, again);
        let mut all: Vec<_> = one.iter().chain(&other).map(|p| p.group).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
    }
}
