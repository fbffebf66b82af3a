//! Storage nodes and Partition resources as they should be.

use std::collections::BTreeSet;

use partita_crds::{Table, names};
use partita_model::partition::GroupId;
use partita_model::table::Throughput;
use partita_model::table::record::{IndexRecord, Record};
use partita_planning::repartition::Limits;
use partita_planning::requests;

use super::Action;
use crate::settings::Settings;
use crate::table::children::growth;
use crate::table::children::node::{StorageNode, storage as volume};
use crate::table::children::places::number;
use crate::table::children::{Piece, difference, hosts, is_ours, partition, prefix};
use crate::table::observe::Observed;
use crate::table::replicas::{self, Replicas};

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
/// Where the move of a group is `halted`, disruption budgets are as usual.
pub fn plan(observed: &Observed, record: &Record, settings: &Settings, halted: &dyn Fn(GroupId) -> bool) -> Nodes {
    let all = observed.pieces(record);
    let prefix = prefix(record);
    let places: Vec<usize> = hosts(&all).iter().filter_map(|host| number(&prefix, host)).collect();
    let mut nodes = storage(observed, record, &places, settings, halted);
    // What was absorbed holds nothing: an operator was killed before it took it away.
    let absorbed = observed.partitions.iter().filter(|(name, partition)| {
        partition.spec.merging_into.is_some() && all.iter().all(|piece| piece.name != **name)
    });
    nodes
        .actions
        .extend(absorbed.map(|(name, _)| Action::DeletePartition(name.clone())));
    for piece in all {
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
pub fn storage(
    observed: &Observed,
    record: &Record,
    places: &[usize],
    settings: &Settings,
    halted: &dyn Fn(GroupId) -> bool,
) -> Nodes {
    let mut nodes = Nodes::default();
    let all = observed.pieces(record);
    for place in places {
        let host = names::partition(&prefix(record), *place);
        let here: Vec<&Piece> = all.iter().filter(|piece| piece.is_on(&host)).collect();
        node(&mut nodes, observed, record, (*place, &here), settings, halted);
    }
    nodes
}

/// One of them, and the partitions that are on it.
fn node(
    nodes: &mut Nodes,
    observed: &Observed,
    record: &Record,
    (place, here): (usize, &[&Piece]),
    settings: &Settings,
    halted: &dyn Fn(GroupId) -> bool,
) {
    let host = names::partition(&prefix(record), place);
    let wanted = observed.table.spec.storage.clone();
    let size = wanted.as_ref().and_then(|storage| storage.size.clone());
    let size = size.unwrap_or_else(|| settings.planning.storage_size.clone());
    let mut node = StorageNode {
        table: &observed.table,
        id: record.id,
        table_name: &record.spec.name,
        seed: record.seed,
        place,
        replicas: observed.replicas(),
        closed: here
            .iter()
            .any(|piece| is_on_its_way(observed, piece) && !halted(piece.group())),
        requests: settings.planning.formula.requests(units(
            record,
            &observed.table,
            here,
            &host,
            &settings.planning.limits,
        )),
        storage_size: growth::made(observed, &host, size),
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
        _ => replicas::pods(observed, here, &name),
    };
    if let Some((size, class)) = set.and_then(volume) {
        // A template of claims cannot be changed: see plan::growth.
        (node.storage_size, node.storage_class) = (size, class);
    }
    let desired = difference::marked(node.service(settings));
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

/// What the partitions that are to be on a StatefulSet have to serve. One that nobody is known to be on yet is as good as any.
fn units(record: &Record, table: &Table, here: &[&Piece], host: &str, limits: &Limits) -> Throughput {
    let stays = |piece: &&&Piece| piece.target() == host;
    let of_table = here.iter().filter(stays).filter(|piece| piece.index.is_none()).count();
    let of_index = |index: &IndexRecord| {
        let ours = |piece: &&&Piece| piece.index.as_ref().is_some_and(|(_, id)| *id == index.id);
        here.iter().filter(stays).filter(ours).count()
    };
    let of_table = if here.is_empty() { 1 } else { of_table };
    requests::of_node(&requests::sized(record, &table.spec, limits), of_table, of_index)
}

/// Whether some of a partition's voters are in one StatefulSet and some in another, or are about to be: a drain of nodes, which
/// counts the pods of each, could take the quorum away, or a pod that the move needs to come to an end.
fn is_on_its_way(observed: &Observed, piece: &Piece) -> bool {
    let moves = |replicas: Replicas<'_>| replicas.straddles() || replicas.gathered();
    piece.moving_to.is_some() && Replicas::of(observed, piece).is_some_and(moves)
}

fn left_over(name: &str) -> String {
    format!("waiting for the former {name} to be gone")
}
