//! What the partitions of this process hold.

use partita_model::partition::GroupId;
use partita_model::table::record::PartitionSizes;
use partita_replication::{Group, Store};

/// What a partition holds; `None` for one that is not there (yet, or any more).
pub fn sizes(store: &Store, group: GroupId) -> Option<PartitionSizes> {
    store.group(group).map(|group| of(&group))
}

/// What a group's partition holds.
pub fn of(group: &Group) -> PartitionSizes {
    let counters = group.stats().counters;
    let local = counters
        .local
        .iter()
        .map(|count| (count.index, count.rows, count.bytes));
    PartitionSizes {
        items: counters.items,
        bytes: counters.bytes,
        local: local.collect(),
    }
}
