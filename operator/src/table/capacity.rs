//! Whether a table has the partitions that its units ask for. Pure, and from nothing but the record and the settings: an operator
//! that was started anew says the same.

use partita_model::table::Status;
use partita_model::table::Throughput;
use partita_model::table::record::{IndexPhase, PartitionLimits, Record};
use partita_planning::repartition::Limits;

/// What is true of a table's capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Its units can be used in full.
    pub satisfied: bool,
    /// One word.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

impl Capacity {
    fn lacking(reason: &'static str, message: String) -> Self {
        Self {
            satisfied: false,
            reason,
            message,
        }
    }
}

/// A table or one of its global indexes.
struct Family<'a> {
    index: Option<&'a str>,
    units: Throughput,
    warm: Option<Throughput>,
    partitions: usize,
}

/// Looks at a table and its global indexes. `bytes` is what the table holds, as far as that is known.
pub fn of(record: &Record, bytes: Option<u64>, limits: &Limits) -> Capacity {
    if record.status == Status::Creating {
        return Capacity::lacking("Creating", "the partitions are being made".to_owned());
    }
    let most = limits.partitions_max.max(1);
    let unbound = PartitionLimits {
        count_max: u64::MAX,
        ..limits.partitions()
    };
    let mut missing = None;
    for family in families(record) {
        let units = unbound.asking(record.spec.billing, family.units, family.warm);
        let held = bytes.filter(|_| family.index.is_none()).unwrap_or(0);
        let asked = unbound.for_units(units).max(held.div_ceil(limits.bytes.max(1)));
        let what = family
            .index
            .map_or("the table".to_owned(), |name| format!("the index {name}"));
        if asked > most {
            return Capacity::lacking(
                "PartitionsAtMost",
                format!(
                    "{what} asks for {asked} partitions ({} RCU, {} WCU and its bytes), and has at most {most} (tables.partitions.maxCount of the \
                     chart, --partitions-max of the operator): what is beyond is throttled, or fills its volumes. {}",
                    units.read,
                    units.write,
                    way_out(most)
                ),
            );
        }
        let there = family.partitions as u64;
        if there < unbound.for_units(units) {
            missing.get_or_insert_with(|| {
                let words = format!(
                    "{what} has {there} of the {asked} partitions that its units ask for, until they are split"
                );
                Capacity::lacking("PartitionsMissing", words)
            });
        }
    }
    missing.unwrap_or_else(|| Capacity {
        satisfied: true,
        reason: "PartitionsSuffice",
        message: "there are as many partitions as the units ask for".to_owned(),
    })
}

/// What can be done about too few partitions.
fn way_out(most: u64) -> String {
    let more = match most < PartitionLimits::COUNT_MAX {
        true => format!("Allow more (up to {}), let", PartitionLimits::COUNT_MAX),
        false => "Let".to_owned(),
    };
    format!("{more} a partition do more (readUnits, writeUnits and bytes of tables.partitions), or use several tables")
}

/// The table, and every index that is complete.
fn families(record: &Record) -> impl Iterator<Item = Family<'_>> {
    let spec = &record.spec;
    let table = Family {
        index: None,
        units: spec.throughput,
        warm: spec.warm,
        partitions: record.partitions.len(),
    };
    let complete = record.global.iter().zip(&spec.global);
    let complete = complete.filter(|(index, _)| index.phase == IndexPhase::Ready);
    std::iter::once(table).chain(complete.map(|(index, spec)| Family {
        index: Some(&index.name),
        units: spec.throughput,
        warm: spec.warm,
        partitions: index.partitions.len(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn judged(write_units: u64, index_units: u64, there: u64, bytes: u64) -> Capacity {
        // The partitions are those of another time.
        let mut record = testing::record(there * 1000, there * 1000);
        record.created();
        record.spec.throughput.write = write_units;
        record.spec.global[0].throughput.write = index_units;
        of(&record, Some(bytes), &Limits::default())
    }

    #[test]
    fn units_have_partitions_or_not() {
        assert!(judged(4000, 4000, 4, 0).satisfied);
        assert!(judged(1000, 1000, 4, 0).satisfied, "more are no lack");
        let more = judged(9000, 4000, 4, 0);
        assert_eq!((more.satisfied, more.reason), (false, "PartitionsMissing"));
        assert!(
            more.message.starts_with("the table has 4 of the 9 partitions"),
            "{}",
            more.message
        );
        let index = judged(4000, 9000, 4, 0);
        assert!(
            index.message.starts_with("the index byStatus has 4 of"),
            "{}",
            index.message
        );
    }

    #[test]
    fn what_is_beyond_all_partitions_is_said() {
        let units = judged(257_000, 1000, 256, 0);
        assert_eq!(units.reason, "PartitionsAtMost");
        assert!(units.message.contains("asks for 257 partitions"), "{}", units.message);
        let setting = "has at most 256 (tables.partitions.maxCount of the chart, --partitions-max of the operator)";
        assert!(units.message.contains(setting), "{}", units.message);
        assert!(units.message.contains("Allow more (up to 1024)"), "{}", units.message);
        let bytes = judged(1000, 1000, 256, 2_561_000_000_000);
        assert_eq!(bytes.reason, "PartitionsAtMost");
        assert!(judged(1000, 1000, 256, 2_559_000_000_000).satisfied);
    }
}
