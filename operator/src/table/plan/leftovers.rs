//! What is left of global indexes that are gone, in stores that did not answer while these were removed.
//!
//! The number of an index is never given again. So a group of an index whose number the record has given, and which is not among its indexes any
//! more, is nobody's: it is removed from each store that answers and has a replica of it. One whose number the record has not given yet was made by
//! somebody who knew more (a copy of etcd may be old), and stays.

use partita_model::partition::PartitionKind;
use partita_model::schema::{IndexId, TableId};
use partita_model::table::record::Record;

use super::Action;
use crate::nodes::Call;
use crate::table::observe::{Node, Observed};

/// Plans a pass.
pub fn plan(observed: &Observed, record: &Record) -> Vec<Action> {
    removed_from_stores(observed, |base, id| base == record.id && is_gone(record, id))
}

/// Whether a table has had this global index.
fn is_gone(record: &Record, id: IndexId) -> bool {
    id.0 < record.next_index && record.global.iter().all(|index| index.id != id)
}

/// Removes the groups of these global indexes (by their tables and numbers) from all stores that answer.
pub fn removed_from_stores(observed: &Observed, gone: impl Fn(TableId, IndexId) -> bool) -> Vec<Action> {
    let of_gone = |kind: &PartitionKind| match kind {
        PartitionKind::Index { base, index, .. } => gone(*base, index.id),
        PartitionKind::Table(_) => false,
    };
    let mut actions = Vec::new();
    for (name, node) in &observed.nodes {
        let Node::Store(store) = node else { continue };
        let groups = store.groups.iter().filter(|group| of_gone(&group.descriptor.kind));
        actions.extend(groups.map(|group| {
            let call = Call::Remove(group.descriptor.group, group.replication.replica);
            Action::Tell(name.clone(), call)
        }));
    }
    actions
}
