//! How many partitions a table or index starts with, where they begin, and what each is told of itself.

use std::sync::Arc;

use super::{IndexRecord, PartitionRecord, Record, derived};
use crate::key::KeyBytes;
use crate::partition::{GroupId, PartitionDescriptor, PartitionKind};
use crate::schema::{TableId, TableSchema};
use crate::table::{BillingMode, Throughput};

/// What one partition serves, and how many there may be of a table or an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionLimits {
    /// Units that one serves.
    pub units: Throughput,
    /// The most of a table or an index.
    pub count_max: u64,
}

/// A remainder is worth a further partition if it is more than one of so many parts of one: 4,000 writes with a few reads
/// beside them are four partitions, each asked for 2 % more than its share, and not five (ADR 7).
const REMAINDER_PARTS: u128 = 10;

impl PartitionLimits {
    /// What DynamoDB's partitions serve. Source: "Partitions and data distribution", DynamoDB Developer Guide.
    pub const UNITS: Throughput = Throughput {
        read: 3000,
        write: 1000,
    };

    /// No setting allows more of a table or an index. On Kubernetes each of a table's is three pods with volumes, and three thousand of
    /// one table are much for any cluster; whoever looks after them compares each with each of their storage nodes.
    pub const COUNT_MAX: u64 = 1024;

    /// At most so many, which serve what DynamoDB's do.
    pub const fn at_most(count_max: u64) -> Self {
        Self {
            units: Self::UNITS,
            count_max,
        }
    }

    /// Partitions for these units: `ceil(RCU/r + WCU/w)`, where less than a tenth of a partition does not count, and at
    /// least one. The only place that says it: first layouts, plans and the operator's splits have to agree.
    pub fn for_units(&self, units: Throughput) -> u64 {
        let (read, write) = (u128::from(self.units.read.max(1)), u128::from(self.units.write.max(1)));
        // In units of 1/(r·w) of a partition, so that the sum is exact before it is rounded up.
        let whole = read.saturating_mul(write);
        let parts = u128::from(units.read)
            .saturating_mul(write)
            .saturating_add(u128::from(units.write).saturating_mul(read));
        let further = (parts % whole).saturating_mul(REMAINDER_PARTS) > whole;
        let count = u64::try_from(parts / whole).unwrap_or(u64::MAX);
        count.saturating_add(u64::from(further)).clamp(1, self.count_max.max(1))
    }

    /// The units that ask for partitions: those declared (none on demand) or those that it is kept warm for, whichever ask
    /// for more.
    pub fn asking(&self, billing: BillingMode, declared: Throughput, warm: Option<Throughput>) -> Throughput {
        let declared = match billing {
            BillingMode::Provisioned => declared,
            BillingMode::PayPerRequest => Throughput::default(),
        };
        let warm = warm.unwrap_or_default();
        if self.for_units(warm) > self.for_units(declared) {
            warm
        } else {
            declared
        }
    }

    /// Partitions that a table or an index starts with. On demand it is one, unless warm throughput asks for more.
    pub fn count(&self, billing: BillingMode, declared: Throughput, warm: Option<Throughput>) -> u64 {
        self.for_units(self.asking(billing, declared, warm))
    }
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

/// Keys that no partition has, or that two have. It names the groups there, and no key: keys are users' data, and this is read in
/// events, conditions and logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// Keys that nobody has: behind one group and in front of another, where there are any.
    #[error("no partition has the keys {}", between(.0, .1))]
    Nobody(Option<GroupId>, Option<GroupId>),
    /// Keys that two groups have.
    #[error("the groups {:016x} and {:016x} have the same keys", .0.0, .1.0)]
    Both(GroupId, GroupId),
}

fn between(before: &Option<GroupId>, behind: &Option<GroupId>) -> String {
    match (before, behind) {
        (None, None) => "at all".to_owned(),
        (Some(before), None) => format!("behind those of the group {:016x}", before.0),
        (None, Some(behind)) => format!("in front of those of the group {:016x}", behind.0),
        (Some(before), Some(behind)) => {
            format!("between those of the groups {:016x} and {:016x}", before.0, behind.0)
        }
    }
}

/// Partitions in key order, if every key has exactly one.
pub fn cover(mut pieces: Vec<Piece>) -> Result<Vec<PartitionRecord>, Gap> {
    pieces.sort_by(|one, other| one.start.cmp(&other.start));
    // The last piece, and where the next one has to begin: nowhere behind the last key.
    let mut last: Option<GroupId> = None;
    let mut next = Some(KeyBytes::default());
    for piece in &pieces {
        match (&next, last) {
            (Some(expected), _) if piece.start > *expected => return Err(Gap::Nobody(last, Some(piece.group))),
            (Some(expected), Some(last)) if piece.start < *expected => return Err(Gap::Both(last, piece.group)),
            (None, Some(last)) => return Err(Gap::Both(last, piece.group)),
            _ => {}
        }
        (last, next) = (Some(piece.group), piece.end.clone());
    }
    match next {
        Some(_) => Err(Gap::Nobody(last, None)),
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
        PartitionLimits::at_most(MOST).count(BillingMode::Provisioned, Throughput { read, write }, None)
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
        let limits = PartitionLimits::at_most(MOST);
        assert_eq!(limits.count(BillingMode::PayPerRequest, none, None), 1);
        let warm = Throughput {
            read: 12_000,
            write: 4000,
        };
        assert_eq!(limits.count(BillingMode::PayPerRequest, none, Some(warm)), 8);
        // Reads that are declared and writes that it is kept warm for are not added up: nobody asks for both at once.
        let (reads, writes) = (Throughput { read: 3000, write: 0 }, Throughput { read: 0, write: 1000 });
        assert_eq!(limits.count(BillingMode::Provisioned, reads, Some(writes)), 1);
    }

    #[test]
    fn smaller_partitions_are_more() {
        let small = PartitionLimits {
            units: Throughput { read: 100, write: 100 },
            count_max: MOST,
        };
        assert_eq!(small.for_units(Throughput { read: 10, write: 900 }), 9);
        assert_eq!(small.for_units(Throughput { read: 11, write: 900 }), 10);
        let none = PartitionLimits {
            units: Throughput::default(),
            count_max: 0,
        };
        assert_eq!(
            none.for_units(Throughput { read: 5, write: 5 }),
            1,
            "a limit of nothing is no division by it"
        );
        let huge = PartitionLimits {
            units: Throughput {
                read: u64::MAX,
                write: u64::MAX,
            },
            count_max: MOST,
        };
        assert!(huge.for_units(huge.units) <= 2, "nothing overflows");
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
            "the groups 0000000000000001 and 0000000000000002 have the same keys"
        );
        let twice = vec![piece(1, KeyBytes::default(), None), piece(2, KeyBytes::default(), None)];
        assert_eq!(cover(twice), Err(Gap::Both(GroupId(1), GroupId(2))));
        assert_eq!(
            cover(vec![]).unwrap_err().to_string(),
            "no partition has the keys at all"
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
