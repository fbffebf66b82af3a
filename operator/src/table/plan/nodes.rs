//! Storage nodes and Partition resources as they should be.

use partita_model::table::record::Record;

use super::{Action, Problem};
use crate::settings::Settings;
use crate::table::children::node::{StorageNode, storage as volume};
use crate::table::children::{difference, is_ours, partition, pieces, quantity, requests};
use crate::table::observe::Observed;

/// What is to be done about them.
#[derive(Debug, Default)]
pub struct Nodes {
    /// To be applied.
    pub actions: Vec<Action>,
    /// What is in the way.
    pub waiting: Option<String>,
    /// What is asked for and cannot be.
    pub problem: Option<Problem>,
}

/// Of a table whose partitions are known.
pub fn plan(observed: &Observed, record: &Record, settings: &Settings) -> Nodes {
    let places: Vec<usize> = (0..record.partitions.len()).collect();
    let mut nodes = storage(observed, record, &places, settings);
    for piece in pieces(record) {
        let there = observed.partitions.get(&piece.name).map(AsRef::as_ref);
        if there.is_some_and(|there| !is_ours(&observed.table, &there.metadata)) {
            nodes.waiting.get_or_insert_with(|| left_over(&piece.name));
            continue;
        }
        let desired = difference::marked(partition::partition(&observed.table, record, &piece));
        if difference::differs(&desired, there) {
            nodes.actions.push(Action::ApplyPartition(Box::new(desired)));
        }
    }
    nodes
}

/// StatefulSets and Services of these of a table's storage nodes.
pub fn storage(observed: &Observed, record: &Record, places: &[usize], settings: &Settings) -> Nodes {
    let mut nodes = Nodes::default();
    for place in places {
        node(&mut nodes, observed, record, *place, settings);
    }
    nodes
}

fn node(nodes: &mut Nodes, observed: &Observed, record: &Record, place: usize, settings: &Settings) {
    let wanted = observed.table.spec.storage.clone();
    let mut node = StorageNode {
        table: &observed.table,
        id: record.id,
        table_name: &record.spec.name,
        seed: record.seed,
        place,
        requests: requests::requests(requests::units(record, place)),
        storage_size: wanted
            .as_ref()
            .and_then(|storage| storage.size.clone())
            .unwrap_or_else(|| settings.storage_size.clone()),
        storage_class: wanted.as_ref().and_then(|storage| storage.storage_class_name.clone()),
    };
    let name = node.name();
    let set = observed.stateful_sets.get(&name).map(AsRef::as_ref);
    let service = observed.services.get(&name).map(AsRef::as_ref);
    let foreign = set.is_some_and(|set| !is_ours(&observed.table, &set.metadata))
        || service.is_some_and(|service| !is_ours(&observed.table, &service.metadata));
    if foreign {
        nodes.waiting.get_or_insert_with(|| left_over(&name));
        return;
    }
    if let Some((size, class)) = set.and_then(volume) {
        let asked = wanted.and_then(|storage| storage.size);
        if let Some(asked) = asked.filter(|asked| !quantity::same(asked, &size)) {
            nodes.problem.get_or_insert_with(|| {
                let message = format!(
                    "spec.storage.size: volumes of {} cannot become {} yet; write `size: {}`",
                    size.0, asked.0, size.0
                );
                Problem::stalled("ChangeRefused", message)
            });
        }
        // A template of claims cannot be changed.
        (node.storage_size, node.storage_class) = (size, class);
    }
    let desired = difference::marked(node.service(settings));
    if difference::differs(&desired, service) {
        nodes.actions.push(Action::ApplyService(Box::new(desired)));
    }
    let desired = difference::marked(node.stateful_set(settings));
    if difference::differs(&desired, set) {
        nodes.actions.push(Action::ApplyStatefulSet(Box::new(desired)));
    }
}

fn left_over(name: &str) -> String {
    format!("waiting for {name} of a deleted Table to be gone")
}
