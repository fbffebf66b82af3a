//! What DescribeTable shows: the record, and what the partitions count.

use std::sync::Arc;

use partita_model::schema::IndexId;
use partita_model::table::{GlobalIndexState, Status, TableDescription};
use partita_partition::reader::Counters;
use partita_replication::Store;

use super::super::catalog::record::{IndexPhase, IndexRecord, PartitionRecord, Record};

/// Describes a table.
pub fn describe(record: &Record, store: &Store, now_ms: u64) -> TableDescription {
    let counters = counters(store, &record.partitions);
    TableDescription {
        spec: record.spec.clone(),
        id: record.id,
        status: record.table_status(),
        created_ms: record.dates.created_ms,
        items: counters.iter().map(|counter| counter.items).sum(),
        bytes: counters.iter().map(|counter| counter.bytes).sum(),
        local: record.local.iter().map(|id| local_sizes(&counters, *id)).collect(),
        global: record
            .global
            .iter()
            .map(|index| index_state(record, index, store, now_ms))
            .collect(),
        on_demand_since_ms: record.dates.on_demand_since_ms,
        last_increase_ms: record.dates.units.increased_ms,
        last_decrease_ms: record.dates.units.decreased_ms,
        decreases_today: record.dates.units.decreases_today(now_ms),
        stream_label: record.stream_label.clone(),
        class_since_ms: record.dates.class_since_ms,
        time_to_live: record.time_to_live,
    }
}

/// What each of these partitions counts; one that is not there (yet, or any more) counts nothing.
fn counters(store: &Store, partitions: &[PartitionRecord]) -> Vec<Counters> {
    let groups = partitions.iter().filter_map(|partition| store.group(partition.group));
    groups.map(|group: Arc<_>| group.stats().counters).collect()
}

fn local_sizes(counters: &[Counters], index: IndexId) -> (u64, u64) {
    let counts = counters
        .iter()
        .flat_map(|counter| &counter.local)
        .filter(|count| count.index == index);
    counts.fold((0, 0), |(items, bytes), count| {
        (items + count.rows, bytes + count.bytes)
    })
}

fn index_state(record: &Record, index: &IndexRecord, store: &Store, now_ms: u64) -> GlobalIndexState {
    let counters = counters(store, &index.partitions);
    let status = match (record.status, index.phase) {
        (Status::Creating, _) | (_, IndexPhase::Building) => Status::Creating,
        (Status::Deleting, _) | (_, IndexPhase::Removing) => Status::Deleting,
        _ => Status::Active,
    };
    GlobalIndexState {
        name: index.name.clone(),
        status,
        backfilling: (index.phase == IndexPhase::Building).then_some(true),
        items: counters.iter().map(|counter| counter.items).sum(),
        bytes: counters.iter().map(|counter| counter.bytes).sum(),
        last_increase_ms: index.units.increased_ms,
        last_decrease_ms: index.units.decreased_ms,
        decreases_today: index.units.decreases_today(now_ms),
    }
}
