//! Storage nodes and Partition resources as they should be.

use std::collections::BTreeSet;

use partita_model::table::record::Record;
use partita_planning::requests;

use super::Action;
use crate::settings::Settings;
use crate::table::children::node::{StorageNode, storage as volume};
use crate::table::children::{difference, is_ours, partition, pieces};
use crate::table::observe::Observed;
use crate::table::replicas;

/// What is to be done about them.
#[derive(Debug, Default)]
pub struct Nodes {
    /// To be applied.
    pub actions: Vec<Action>,
    /// What is in the way.
    pub waiting: Option<String>,
}

impl Nodes {
    /// The Partitions that are about to be changed.
    pub fn changed(&self) -> BTreeSet<String> {
        let names = self.actions.iter().filter_map(|action| match action {
            Action::ApplyPartition(partition) => partition.metadata.name.clone(),
            _ => None,
        });
        names.collect()
    }
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
        let desired = difference::marked(partition::partition(
            &observed.table,
            record,
            &piece,
            observed.replicas(),
        ));
        if difference::differs(&desired, there) {
            nodes.actions.push(Action::ApplyPartition(Box::new(desired)));
        }
    }
    nodes
}

/// StatefulSets, Services and disruption budgets of these of a table's storage nodes.
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
        replicas: observed.replicas(),
        requests: settings
            .planning
            .formula
            .requests(requests::units(&requests::sized(record, &observed.table.spec), place)),
        storage_size: wanted
            .as_ref()
            .and_then(|storage| storage.size.clone())
            .unwrap_or_else(|| settings.planning.storage_size.clone()),
        storage_class: wanted.as_ref().and_then(|storage| storage.storage_class_name.clone()),
    };
    let name = node.name();
    let set = observed.stateful_sets.get(&name).map(AsRef::as_ref);
    let service = observed.services.get(&name).map(AsRef::as_ref);
    let budget = observed.disruption_budgets.get(&name).map(AsRef::as_ref);
    let foreign = set.is_some_and(|set| !is_ours(&observed.table, &set.metadata))
        || service.is_some_and(|service| !is_ours(&observed.table, &service.metadata))
        || budget.is_some_and(|budget| !is_ours(&observed.table, &budget.metadata));
    if foreign {
        nodes.waiting.get_or_insert_with(|| left_over(&name));
        return;
    }

    // Claims are of data that is there: its replicas come back before anything is decided about them.
    let retained = observed
        .claims
        .iter()
        .filter(|claim| claim.table == record.id && claim.place == Some(place));
    let retained = retained
        .filter_map(|claim| claim.ordinal.map(|ordinal| ordinal + 1))
        .max();
    node.replicas = match (set, retained) {
        (None, Some(retained)) => retained.max(node.replicas),
        _ => replicas::pods(observed, record, &name),
    };
    if let Some((size, class)) = set.and_then(volume) {
        // A template of claims cannot be changed: see plan::growth.
        (node.storage_size, node.storage_class) = (size, class);
    }
    let desired = difference::marked(node.service());
    if difference::differs(&desired, service) {
        nodes.actions.push(Action::ApplyService(Box::new(desired)));
    }
    let desired = difference::marked(node.disruption_budget());
    if difference::differs(&desired, budget) {
        nodes.actions.push(Action::ApplyDisruptionBudget(Box::new(desired)));
    }
    let desired = difference::marked(node.stateful_set(settings));
    if difference::differs(&desired, set) {
        nodes.actions.push(Action::ApplyStatefulSet(Box::new(desired)));
    }
}

fn left_over(name: &str) -> String {
    format!("waiting for the former {name} to be gone")
}
