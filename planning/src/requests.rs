//! What a storage node asks of the scheduler: CPU and memory from the units that it has to serve. `spec.scheduling` overrides
//! both for one table, a [`Formula`] of one's own for all.
//!
//! ```text
//! CPU     50m + 0.05m for each RCU + 0.15m for each WCU, rounded up to 10m
//! memory  320Mi + 32Ki for each RCU + 96Ki for each WCU, rounded up to 16Mi
//! ```
//!
//! One strong read of up to 4 KiB takes about 20 µs of a core and a write of 1 KiB about 30 µs, to which compaction, delivery
//! to indexes and the connections add: the formula has room for two to five times that. Memory is a block cache (256 MiB),
//! the process, and what is in flight. A full partition (3,000 RCU or 1,000 WCU) asks for a fifth of a core and 420 MiB.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_crds::TableSpec;
use partita_crds::table::{Autoscaling, AutoscalingRange};
use partita_model::table::record::{IndexPhase, IndexRecord, Record};
use partita_model::table::{BillingMode, Throughput};

use crate::quantity;
use crate::repartition::Limits;

/// The CPU of [`Formula::default`], as [`Rates::cpu`] reads it.
pub const CPU: &str = "50m,50u,150u";
/// The memory of [`Formula::default`], as [`Rates::memory`] reads it.
pub const MEMORY: &str = "320Mi,32Ki,96Ki";

/// CPU is asked for in these steps, in millionths of a core: so that a small change of units is no change of the pod.
const CPU_STEP_MICROS: u64 = 10_000;
/// Memory is asked for in these steps, in bytes.
const MEMORY_STEP_BYTES: u64 = 16 << 20;
/// What a partition of an on-demand table is expected to serve: a quarter of what it can.
const ON_DEMAND: Throughput = Throughput { read: 750, write: 250 };
/// Thousand-millionths in a millionth.
const NANOS_IN_MICRO: i128 = 1000;
/// Thousand-millionths in a whole.
const NANOS_IN_ONE: i128 = 1_000_000_000;

/// How a request follows the units, in millionths of a core or in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Of a storage node that nobody calls.
    pub base: u64,
    /// For each RCU.
    pub per_read: u64,
    /// For each WCU.
    pub per_write: u64,
}

impl Rates {
    /// Reads `BASE,PER_RCU,PER_WCU` as quantities of CPU, such as `50m,50u,150u`.
    pub fn cpu(text: &str) -> Result<Self, String> {
        Self::parse(text, NANOS_IN_MICRO, CPU)
    }

    /// Reads `BASE,PER_RCU,PER_WCU` as quantities of memory, such as `320Mi,32Ki,96Ki`.
    pub fn memory(text: &str) -> Result<Self, String> {
        Self::parse(text, NANOS_IN_ONE, MEMORY)
    }

    fn parse(text: &str, unit: i128, example: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let [base, per_read, per_write] = parts.as_slice() else {
            return Err(format!(
                "three quantities are needed, for a node, each RCU and each WCU, such as {example}"
            ));
        };
        let amount = |text: &str| {
            let nanos = quantity::nanos(&Quantity(text.to_owned())).filter(|nanos| *nanos >= 0);
            let amount = nanos.and_then(|nanos| u64::try_from(nanos / unit).ok());
            amount.ok_or_else(|| format!("{text:?} is no quantity; write three such as {example}"))
        };
        let rates = Self {
            base: amount(base)?,
            per_read: amount(per_read)?,
            per_write: amount(per_write)?,
        };
        if rates.base == 0 {
            return Err(format!("a node needs something even without units; such as {example}"));
        }
        Ok(rates)
    }

    fn of(self, units: Throughput) -> u64 {
        let reads = self.per_read.saturating_mul(units.read);
        let writes = self.per_write.saturating_mul(units.write);
        self.base.saturating_add(reads).saturating_add(writes)
    }
}

/// What a storage node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formula {
    /// Millionths of a core.
    pub cpu: Rates,
    /// Bytes of memory.
    pub memory: Rates,
}

impl Default for Formula {
    fn default() -> Self {
        Self {
            cpu: Rates {
                base: 50_000,
                per_read: 50,
                per_write: 150,
            },
            memory: Rates {
                base: 320 << 20,
                per_read: 32 << 10,
                per_write: 96 << 10,
            },
        }
    }
}

impl Formula {
    /// For these units.
    pub fn requests(&self, units: Throughput) -> Requests {
        Requests {
            cpu_millis: up(self.cpu.of(units), CPU_STEP_MICROS) / 1000,
            memory_bytes: up(self.memory.of(units), MEMORY_STEP_BYTES),
        }
    }
}

/// CPU and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

impl Requests {
    /// As a pod's specification has it.
    pub fn cpu(&self) -> Quantity {
        Quantity(format!("{}m", self.cpu_millis))
    }

    /// As a pod's specification has it.
    pub fn memory(&self) -> Quantity {
        Quantity(format!("{}Mi", self.memory_bytes >> 20))
    }
}

fn up(amount: u64, step: u64) -> u64 {
    amount.div_ceil(step).saturating_mul(step)
}

/// A record with the units by which its pods are sized. Where units follow the use, that is the most that a partition may be
/// asked for within the range, whatever is in effect: a pod is not restarted because a table has more to do for an hour.
pub fn sized(record: &Record, spec: &TableSpec, limits: &Limits) -> Record {
    let (mut sized, ceiling) = (record.clone(), limits.units);
    widest(
        &mut sized.spec.throughput,
        spec.autoscaling.as_ref(),
        record.partitions.len(),
        ceiling,
    );
    for (index, kept) in sized.spec.global.iter_mut().zip(&record.global) {
        let declared = spec
            .global_secondary_indexes
            .iter()
            .find(|declared| declared.index_name == index.name);
        let ranges = declared.and_then(|declared| declared.autoscaling.as_ref());
        widest(&mut index.throughput, ranges, kept.partitions.len(), ceiling);
    }
    sized
}

fn widest(units: &mut Throughput, ranges: Option<&Autoscaling>, partitions: usize, ceiling: Throughput) {
    let partitions = partitions.max(1) as u64;
    let most = |is: u64, range: Option<&AutoscalingRange>, ceiling: u64| match range {
        Some(range) => u64::try_from(range.max)
            .unwrap_or(is)
            .min(ceiling.saturating_mul(partitions))
            .max(is),
        None => is,
    };
    units.read = most(units.read, ranges.and_then(|ranges| ranges.read.as_ref()), ceiling.read);
    units.write = most(
        units.write,
        ranges.and_then(|ranges| ranges.write.as_ref()),
        ceiling.write,
    );
}

/// The units that the node of a table's partition `place` has to serve: its share of the table's, and of those of the
/// indexes' partitions that it holds.
pub fn units(record: &Record, place: usize) -> Throughput {
    let nodes = record.partitions.len().max(1);
    of_node(record, 1, |index| {
        (place..index.partitions.len()).step_by(nodes).count()
    })
}

/// The units that a node with so many of the table's partitions, and of those of each index, has to serve.
pub fn of_node(record: &Record, of_table: usize, of_index: impl Fn(&IndexRecord) -> usize) -> Throughput {
    let times = |units: Throughput, count: usize| Throughput {
        read: units.read.saturating_mul(count as u64),
        write: units.write.saturating_mul(count as u64),
    };
    let each = share(
        record,
        record.spec.throughput,
        record.spec.warm,
        record.partitions.len(),
    );
    let mut sum = times(each, of_table);
    for (index, spec) in record.global.iter().zip(&record.spec.global) {
        if index.phase == IndexPhase::Removing || index.partitions.is_empty() {
            continue;
        }
        let each = share(record, spec.throughput, spec.warm, index.partitions.len());
        let held = times(each, of_index(index));
        sum.read = sum.read.saturating_add(held.read);
        sum.write = sum.write.saturating_add(held.write);
    }
    sum
}

/// What one of so many partitions has to serve: it is ready for the warm throughput, too.
fn share(record: &Record, declared: Throughput, warm: Option<Throughput>, partitions: usize) -> Throughput {
    let partitions = partitions.max(1) as u64;
    let part = |units: Throughput| Throughput {
        read: units.read.div_ceil(partitions),
        write: units.write.div_ceil(partitions),
    };
    let declared = match record.spec.billing {
        BillingMode::Provisioned => part(declared),
        BillingMode::PayPerRequest => ON_DEMAND,
    };
    let warm = warm.map(part).unwrap_or_default();
    Throughput {
        read: declared.read.max(warm.read),
        write: declared.write.max(warm.write),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::tests::{record, table};

    fn of(read: u64, write: u64) -> (String, String) {
        let requests = Formula::default().requests(Throughput { read, write });
        (requests.cpu().0, requests.memory().0)
    }

    #[test]
    fn requests_follow_the_units() {
        let text = |cpu: &str, memory: &str| (cpu.to_owned(), memory.to_owned());
        assert_eq!(of(0, 0), text("50m", "320Mi"));
        assert_eq!(of(1, 1), text("60m", "336Mi"));
        assert_eq!(of(0, 1000), text("200m", "416Mi"));
        assert_eq!(of(3000, 0), text("200m", "416Mi"));
        assert_eq!(of(750, 250), text("130m", "368Mi"));
        // Absurd units are an absurd request, not a crash.
        assert!(of(u64::MAX, u64::MAX).0.ends_with('m'));
    }

    #[test]
    fn a_node_serves_its_share_and_its_indexes() {
        // Four partitions of 4,000 writes, and an index with 3,000 writes: three partitions on the first three nodes.
        let record = record(&table(4000, Some(3000)));
        assert_eq!(units(&record, 0).write, 1000 + 1000);
        assert_eq!(units(&record, 3).write, 1000);
    }

    #[test]
    fn pods_of_a_range_are_sized_by_its_end_and_by_what_a_partition_can() {
        let mut spec = table(1500, None);
        spec.provisioned_throughput.as_mut().unwrap().write_capacity_units = None;
        let range = |max: i64| serde_json::json!({"write": {"min": 1500, "max": max}});
        spec.autoscaling = serde_json::from_value(range(1700)).unwrap();
        let begun = record(&spec);
        assert_eq!((begun.partitions.len(), begun.spec.throughput.write), (2, 1500));
        assert_eq!(units(&sized(&begun, &spec, &Limits::default()), 0).write, 850);
        spec.autoscaling = serde_json::from_value(range(90_000)).unwrap();
        assert_eq!(units(&sized(&begun, &spec, &Limits::default()), 0).write, 1000);
        assert_eq!(
            units(&sized(&begun, &spec, &Limits::default()), 0).read,
            50,
            "what is given is given"
        );
    }

    #[test]
    fn the_formula_is_read_as_it_is_written() {
        let formula = Formula {
            cpu: Rates::cpu(CPU).unwrap(),
            memory: Rates::memory(MEMORY).unwrap(),
        };
        assert_eq!(formula, Formula::default());
        assert_eq!(Rates::cpu("0.1, 1m, 0").unwrap().per_read, 1000);
        for (wrong, said) in [
            ("50m,50u", "three quantities"),
            ("50m,x,150u", "\"x\" is no quantity"),
            ("50m,-1,150u", "\"-1\" is no quantity"),
            ("0,50u,150u", "even without units"),
        ] {
            let error = Rates::cpu(wrong).unwrap_err();
            assert!(error.contains(said) && error.contains(CPU), "{error}");
        }
    }
}
