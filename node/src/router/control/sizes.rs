//! What a table's partitions hold, asked of their nodes.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use partita_crds::Partition;
use partita_model::hexadecimal;
use partita_model::partition::GroupId;
use partita_model::table::record::PartitionSizes;
use partita_transport::{Answer, Client, GroupStats, Operation};

use crate::directory::Entry;

/// How long a node may take to count: it does so from memory, and DescribeTable does not wait for those that are away.
const ASK_MAX: Duration = Duration::from_millis(500);

/// What each partition of a table and of its indexes holds, as far as the nodes answer.
pub async fn ask(client: &Client, entry: &Entry) -> HashMap<GroupId, PartitionSizes> {
    let questions = entry.hosts.iter().map(|(group, host)| async move {
        let answer = client.peer(host).call_within(*group, Operation::Stats, ASK_MAX).await;
        match answer {
            Ok(Answer::Stats(stats)) => Some((*group, counted(&stats))),
            _ => None,
        }
    });
    join_all(questions).await.into_iter().flatten().collect()
}

fn counted(stats: &GroupStats) -> PartitionSizes {
    let local = stats.counters.local.iter();
    PartitionSizes {
        items: stats.counters.items,
        bytes: stats.counters.bytes,
        local: local.map(|count| (count.index, count.rows, count.bytes)).collect(),
    }
}

/// What the operator has last noted (rounded) of a partition.
pub fn noted(partition: &Partition) -> Option<(GroupId, PartitionSizes)> {
    let group = GroupId(hexadecimal::parse_id(&partition.spec.group)?);
    let status = partition.status.as_ref()?;
    let number = |noted: Option<i64>| noted.and_then(|noted| u64::try_from(noted).ok());
    let sizes = PartitionSizes {
        items: number(status.item_count)?,
        bytes: number(status.size_bytes)?,
        local: Vec::new(),
    };
    Some((group, sizes))
}
