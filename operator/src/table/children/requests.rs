//! What a storage node asks of the scheduler: CPU and memory from the units that it has to serve. `spec.scheduling` overrides
//! both.
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
use partita_model::table::record::{IndexPhase, Record};
use partita_model::table::{BillingMode, Throughput};

/// CPU of a storage node that nobody calls, in thousandths of a core.
const CPU_BASE_MILLIS: u64 = 50;
/// CPU for one RCU, in millionths of a core.
const CPU_MICROS_PER_READ: u64 = 50;
/// CPU for one WCU, in millionths of a core.
const CPU_MICROS_PER_WRITE: u64 = 150;
/// CPU is asked for in these steps, in thousandths: so that a small change of units is no change of the pod.
const CPU_STEP_MILLIS: u64 = 10;
/// Memory of a storage node that nobody calls: its block cache and itself.
const MEMORY_BASE_KIB: u64 = 320 << 10;
/// Memory for one RCU: answers in flight.
const MEMORY_KIB_PER_READ: u64 = 32;
/// Memory for one WCU: writes in flight and in tables that are not flushed yet.
const MEMORY_KIB_PER_WRITE: u64 = 96;
/// Memory is asked for in these steps.
const MEMORY_STEP_KIB: u64 = 16 << 10;
/// What a partition of an on-demand table is expected to serve: a quarter of what it can.
const ON_DEMAND: Throughput = Throughput { read: 750, write: 250 };

/// CPU and memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Requests {
    /// CPU.
    pub cpu: Quantity,
    /// Memory.
    pub memory: Quantity,
}

/// For these units.
pub fn requests(units: Throughput) -> Requests {
    let micros = CPU_MICROS_PER_READ
        .saturating_mul(units.read)
        .saturating_add(CPU_MICROS_PER_WRITE.saturating_mul(units.write));
    let cpu = up(CPU_BASE_MILLIS.saturating_add(micros.div_ceil(1000)), CPU_STEP_MILLIS);
    let kib = MEMORY_KIB_PER_READ
        .saturating_mul(units.read)
        .saturating_add(MEMORY_KIB_PER_WRITE.saturating_mul(units.write));
    let memory = up(MEMORY_BASE_KIB.saturating_add(kib), MEMORY_STEP_KIB);
    Requests {
        cpu: Quantity(format!("{cpu}m")),
        memory: Quantity(format!("{}Mi", memory >> 10)),
    }
}

fn up(amount: u64, step: u64) -> u64 {
    amount.div_ceil(step).saturating_mul(step)
}

/// The units that the node of a table's partition `place` has to serve: its share of the table's, and of those of the
/// indexes' partitions that it holds.
pub fn units(record: &Record, place: usize) -> Throughput {
    let nodes = record.partitions.len().max(1);
    let mut sum = share(record, record.spec.throughput, record.spec.warm, nodes);
    for (index, spec) in record.global.iter().zip(&record.spec.global) {
        if index.phase == IndexPhase::Removing || index.partitions.is_empty() {
            continue;
        }
        let held = (place..index.partitions.len()).step_by(nodes).count() as u64;
        let each = share(record, spec.throughput, spec.warm, index.partitions.len());
        sum.read = sum.read.saturating_add(each.read.saturating_mul(held));
        sum.write = sum.write.saturating_add(each.write.saturating_mul(held));
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
    use crate::testing;

    fn of(read: u64, write: u64) -> (String, String) {
        let requests = requests(Throughput { read, write });
        (requests.cpu.0, requests.memory.0)
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
        let record = testing::record(4000, 3000);
        assert_eq!(units(&record, 0).write, 1000 + 1000);
        assert_eq!(units(&record, 3).write, 1000);
    }
}
