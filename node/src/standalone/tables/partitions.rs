//! How many partitions a table or index starts with, and where they begin.

use partita_model::table::{BillingMode, Throughput};
use partita_partition::descriptor::GroupId;

use super::super::catalog::record::PartitionRecord;

/// Read units that one partition serves. Source: "Partitions and data distribution", DynamoDB Developer Guide.
const PARTITION_READ_UNITS: u64 = 3000;
/// Write units that one partition serves. Same source.
const PARTITION_WRITE_UNITS: u64 = 1000;
/// Most partitions of a table or index that one process makes: beyond DynamoDB's default quota of 40,000 units a table
/// in one process gains nothing from more groups.
const PARTITIONS_MAX: u64 = 64;

/// Partitions for these units: `max(ceil(RCU/3000 + WCU/1000), 1)`. On demand it is one, unless warm throughput asks
/// for more.
pub fn count(billing: BillingMode, units: Throughput, warm: Option<Throughput>) -> u64 {
    let declared = match billing {
        BillingMode::Provisioned => Some(units),
        BillingMode::PayPerRequest => None,
    };
    let wanted = |units: Throughput| {
        // In units of 1/3000 of a partition, so that the sum is exact before it is rounded up.
        let writes = units.write.saturating_mul(PARTITION_READ_UNITS / PARTITION_WRITE_UNITS);
        units.read.saturating_add(writes).div_ceil(PARTITION_READ_UNITS)
    };
    let most = declared.into_iter().chain(warm).map(wanted).max();
    most.unwrap_or(1).clamp(1, PARTITIONS_MAX)
}

/// New partitions that share the hashes evenly: keys begin with the big-endian hash of the partition key.
pub fn even(count: u64) -> Vec<PartitionRecord> {
    let hashes = u128::from(u64::MAX) + 1;
    (0..count)
        .map(|place| {
            let first_hash = (hashes * u128::from(place) / u128::from(count)) as u64;
            PartitionRecord {
                group: new_group(),
                start: if place == 0 {
                    Vec::new()
                } else {
                    first_hash.to_be_bytes().to_vec()
                },
            }
        })
        .collect()
}

/// A group id that was never used: 63 random bits (zero means nobody to raft).
fn new_group() -> GroupId {
    GroupId((rand::random::<u64>() >> 1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provisioned(read: u64, write: u64) -> u64 {
        count(BillingMode::Provisioned, Throughput { read, write }, None)
    }

    #[test]
    fn units_become_partitions() {
        assert_eq!(provisioned(1, 1), 1);
        assert_eq!(provisioned(3000, 0), 1);
        assert_eq!(provisioned(1500, 500), 1);
        assert_eq!(provisioned(1501, 500), 2);
        assert_eq!(provisioned(0, 4000), 4);
        assert_eq!(provisioned(u64::MAX, u64::MAX), PARTITIONS_MAX);
        assert_eq!(count(BillingMode::PayPerRequest, Throughput::default(), None), 1);
        let warm = Some(Throughput {
            read: 12_000,
            write: 4000,
        });
        assert_eq!(count(BillingMode::PayPerRequest, Throughput::default(), warm), 8);
    }

    #[test]
    fn ranges_are_even_and_begin_at_the_empty_key() {
        let four = even(4);
        let starts: Vec<String> = four.iter().map(|p| hex::encode(&p.start)).collect();
        assert_eq!(starts, ["", "4000000000000000", "8000000000000000", "c000000000000000"]);
    }
}
