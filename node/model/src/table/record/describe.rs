//! What DescribeTable shows: the record, and what the partitions count.

use serde::{Deserialize, Serialize};

use super::{IndexPhase, IndexRecord, PartitionRecord, Record};
use crate::partition::GroupId;
use crate::schema::IndexId;
use crate::table::{GlobalIndexState, Status, TableDescription};

/// What one partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionSizes {
    /// Items, or rows of a global index.
    pub items: u64,
    /// The sum of their sizes by DynamoDB's rules.
    pub bytes: u64,
    /// Rows and bytes of each local index.
    pub local: Vec<(IndexId, u64, u64)>,
}

impl Record {
    /// Describes the table. A partition that `sizes` does not know (yet, or any more) counts nothing.
    pub fn describe(&self, sizes: &dyn Fn(GroupId) -> Option<PartitionSizes>, now_ms: u64) -> TableDescription {
        let table = known(&self.partitions, sizes);
        let local = self.local.iter().map(|id| local_sizes(&table, *id));
        let global = self.global.iter().map(|index| self.index_state(index, sizes, now_ms));
        TableDescription {
            spec: self.spec.clone(),
            id: self.id,
            status: self.table_status(),
            created_ms: self.dates.created_ms,
            items: table.iter().map(|sizes| sizes.items).sum(),
            bytes: table.iter().map(|sizes| sizes.bytes).sum(),
            local: local.collect(),
            global: global.collect(),
            on_demand_since_ms: self.dates.on_demand_since_ms,
            last_increase_ms: self.dates.units.increased_ms,
            last_decrease_ms: self.dates.units.decreased_ms,
            decreases_today: self.dates.units.decreases_today(now_ms),
            stream_label: self.stream_label.clone(),
            class_since_ms: self.dates.class_since_ms,
            time_to_live: self.time_to_live,
        }
    }

    fn index_state(
        &self,
        index: &IndexRecord,
        sizes: &dyn Fn(GroupId) -> Option<PartitionSizes>,
        now_ms: u64,
    ) -> GlobalIndexState {
        let rows = known(&index.partitions, sizes);
        let status = match (self.status, index.phase) {
            (Status::Creating, _) | (_, IndexPhase::Building) => Status::Creating,
            (Status::Deleting, _) | (_, IndexPhase::Removing) => Status::Deleting,
            _ => Status::Active,
        };
        GlobalIndexState {
            name: index.name.clone(),
            status,
            backfilling: (index.phase == IndexPhase::Building).then_some(true),
            items: rows.iter().map(|sizes| sizes.items).sum(),
            bytes: rows.iter().map(|sizes| sizes.bytes).sum(),
            last_increase_ms: index.units.increased_ms,
            last_decrease_ms: index.units.decreased_ms,
            decreases_today: index.units.decreases_today(now_ms),
        }
    }
}

fn known(partitions: &[PartitionRecord], sizes: &dyn Fn(GroupId) -> Option<PartitionSizes>) -> Vec<PartitionSizes> {
    partitions
        .iter()
        .filter_map(|partition| sizes(partition.group))
        .collect()
}

fn local_sizes(partitions: &[PartitionSizes], index: IndexId) -> (u64, u64) {
    let counts = partitions.iter().flat_map(|sizes| &sizes.local);
    counts
        .filter(|(id, _, _)| *id == index)
        .fold((0, 0), |(items, bytes), (_, rows, size)| (items + rows, bytes + size))
}
