//! Data that is there without the resources that tell of it: retained data that is adopted, or Partitions that somebody
//! deleted. The stores know what they hold.
//!
//! 1. Storage nodes are made (again) for the claims that are there; claims of pods that are not to be any more do not count;
//! 2. when all of them have answered, [`Record::recover`] finds ranges and schema (of a table that is there, most nodes of each partition will do);
//! 3. what follows from it is written; from then on it is a table like any other.

use std::collections::BTreeMap;

use partita_crds::names;
use partita_model::admin::{GroupState, StoreState};
use partita_model::key::KeyBytes;
use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::schema::TableId;
use partita_model::table::record::{Circumstances, PartitionRecord, Record};

use super::nodes::{self, Nodes};
use super::{Action, Plan, Problem};
use crate::nodes::NodeName;
use crate::settings::Settings;
use crate::table::children::places::{Names, Place, Places};
use crate::table::children::{difference, partition, pieces, prefix};
use crate::table::claims::Claim;
use crate::table::observe::{Node, Observed};
use crate::table::validate::Valid;

/// The record of a table of which nothing is kept but its data.
pub fn record(observed: &Observed, valid: &Valid, id: TableId, settings: &Settings, at: Circumstances) -> Plan {
    let account = names::account(&observed.namespace);
    let mut sketch = Record::create(&account, valid.spec.clone(), valid.owner.clone(), id, at);
    let known = match known(observed, &mut sketch, settings, silent) {
        Ok(known) => known,
        Err(not_yet) => return *not_yet,
    };
    let recovered = Record::recover(&account, valid.spec.clone(), valid.owner.clone(), id, &known, at);
    match recovered
        .map_err(|error| error.to_string())
        .and_then(|record| placed(observed, record))
    {
        Ok((record, _)) => Plan {
            news: Some((
                "Adopted",
                format!(
                    "goes on with the data of {}: {} partitions",
                    names::id_label(id),
                    record.partitions.len()
                ),
            )),
            record: Some(record),
            ..Plan::default()
        },
        Err(reason) => {
            let message = format!("the data of {} cannot be taken up: {reason}", names::id_label(id));
            Plan::problem(None, Problem::stalled("AdoptionRefused", message))
        }
    }
}

/// The Partitions of a table that is there but for (some of) them.
pub fn partitions(observed: &Observed, record: &Record, settings: &Settings, at: Circumstances) -> Plan {
    let mut sketch = record.clone();
    let known = match known(observed, &mut sketch, settings, |nodes, observed| {
        silent(nodes, observed).filter(|_| !most_will_do(nodes, observed))
    }) {
        Ok(known) => known,
        Err(not_yet) => return *not_yet,
    };
    let found = Record::recover(
        &record.account,
        record.spec.clone(),
        record.owner.clone(),
        record.id,
        &known,
        at,
    );
    match found
        .map_err(|error| error.to_string())
        .and_then(|found| placed(observed, found))
    {
        Ok((found, places)) => {
            let wanted = pieces(&found, &places).into_iter().map(|piece| {
                let desired = partition::partition(&observed.table, record, &piece, observed.replicas());
                (piece.place.name, difference::marked(desired))
            });
            let actions = wanted.filter(|(name, desired)| {
                let there = observed.partitions.get(name).map(AsRef::as_ref);
                difference::differs(desired, there)
            });
            Plan {
                actions: actions
                    .map(|(_, desired)| Action::ApplyPartition(Box::new(desired)))
                    .collect(),
                record: Some(record.clone()),
                waiting: Some("making Partition resources again that are missing".to_owned()),
                ..Plan::default()
            }
        }
        // They may be where nobody answers.
        Err(reason) if !observed.all_answered() => Plan {
            record: Some(record.clone()),
            waiting: Some(format!(
                "waiting for all storage nodes: Partition resources are missing, and those that answer do not have them ({reason})"
            )),
            ..Plan::default()
        },
        Err(reason) => {
            let message =
                format!("Partition resources are missing, and the storage nodes do not have them either: {reason}");
            Plan::problem(Some(record.clone()), Problem::stalled("StoreLost", message))
        }
    }
}

/// What the storage nodes of a table know, or the plan of a pass that makes (or waits for) them; `missing` names one of those with data that is
/// waited for. `sketch` gets as many partitions as there are StatefulSets: units are shared among them.
fn known(
    observed: &Observed,
    sketch: &mut Record,
    settings: &Settings,
    missing: impl Fn(&[NodeName], &Observed) -> Option<NodeName>,
) -> Result<Vec<PartitionDescriptor>, Box<Plan>> {
    let claims: Vec<&Claim> = observed
        .claims
        .iter()
        .filter(|claim| claim.table == sketch.id)
        .collect();
    let mut places: Vec<usize> = claims.iter().filter_map(|claim| claim.place).collect();
    places.sort_unstable();
    places.dedup();
    let nobody = PartitionRecord {
        group: GroupId(0),
        start: KeyBytes::default(),
    };
    sketch.partitions = vec![nobody; places.len()];
    if let Some(seed) = claims.iter().find_map(|claim| claim.seed) {
        sketch.seed = seed;
    }
    let Nodes { actions, waiting } = nodes::storage(observed, sketch, &places, settings, &|_| false);
    let prefix = names::prefix(&sketch.spec.name, sketch.id);
    let with_data = claims.iter().filter_map(|claim| {
        let host = names::partition(&prefix, claim.place?);
        Some(NodeName::new(&host, claim.ordinal?))
    });
    // A pod that was one too many is not coming back, whatever its volume has.
    let to_be = |node: &NodeName| match observed.stateful_sets.contains_key(&node.host) {
        true => node.ordinal < observed.pods_of(&node.host),
        false => true,
    };
    let with_data: Vec<NodeName> = with_data.filter(to_be).collect();
    let waiting = waiting.or_else(|| {
        let name = missing(&with_data, observed)?;
        let why = observed
            .trouble(&name)
            .map(|why| format!(" ({why})"))
            .unwrap_or_default();
        Some(format!(
            "waiting for the storage node {name}, to see what it holds{why}. If its volume is gone for good, delete its claim {} and its pod",
            name.claim()
        ))
    });
    if waiting.is_some() || !actions.is_empty() {
        return Err(Box::new(Plan {
            actions,
            record: observed.record().cloned(),
            waiting,
            ..Plan::default()
        }));
    }
    Ok(groups(observed))
}

/// A storage node that does not answer.
fn silent(nodes: &[NodeName], observed: &Observed) -> Option<NodeName> {
    let silent = nodes.iter().find(|name| !answers(name, observed));
    silent.cloned()
}

fn answers(node: &NodeName, observed: &Observed) -> bool {
    matches!(observed.nodes.get(node), Some(Node::Store(_)))
}

/// Whether those that answer know of everything that the others know: most nodes of each StatefulSet, and of each group its leader.
fn most_will_do(nodes: &[NodeName], observed: &Observed) -> bool {
    let mut hosts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for node in nodes {
        let (answering, all) = hosts.entry(&node.host).or_default();
        *answering += usize::from(answers(node, observed));
        *all += 1;
    }
    let mut led: BTreeMap<GroupId, bool> = BTreeMap::new();
    for group in stores(observed).flat_map(|store| &store.groups) {
        *led.entry(group.descriptor.group).or_default() |= group.leader;
    }
    hosts.values().all(|(answering, all)| 2 * answering > *all) && led.values().all(|led| *led)
}

fn stores(observed: &Observed) -> impl Iterator<Item = &StoreState> {
    observed.nodes.values().filter_map(|node| match node {
        Node::Store(store) => Some(store),
        Node::Silent => None,
    })
}

/// Every group once, as the replica describes it that knows its latest range (of these, the leader).
fn groups(observed: &Observed) -> Vec<PartitionDescriptor> {
    let mut known: BTreeMap<GroupId, &GroupState> = BTreeMap::new();
    for group in stores(observed).flat_map(|store| &store.groups) {
        let rank = |group: &GroupState| {
            let descriptor = &group.descriptor;
            (descriptor.range_epoch, group.leader, group.term, group.schema_version())
        };
        let best = known.entry(group.descriptor.group).or_insert(group);
        if rank(group) > rank(best) {
            *best = group;
        }
    }
    known.into_values().map(|group| group.descriptor.clone()).collect()
}

/// Where every group is: what its resource says, if it still has one, else where it was found. A table's partition is called like
/// its storage nodes, if it is alone there.
fn placed(observed: &Observed, record: Record) -> Result<(Record, Places), String> {
    let prefix = prefix(&record);
    let mut places = observed.places.clone();
    let taken = observed.partitions.keys().cloned();
    let mut names = Names::without(&prefix, taken);
    let of_table = record.partitions.iter().map(|partition| (partition.group, None));
    let of_indexes = record.global.iter().flat_map(|index| {
        let own = index.partitions.iter();
        own.map(|partition| (partition.group, Some(index.id)))
    });
    for (group, index) in of_table.chain(of_indexes) {
        if places.get(group).is_some_and(|place| observed.holds(place, group)) {
            continue;
        }
        let leads = |node: &Node| match node {
            Node::Store(store) => {
                let found = store.groups.iter().find(|state| state.descriptor.group == group)?;
                Some(found.leader)
            }
            Node::Silent => None,
        };
        let found = observed
            .nodes
            .iter()
            .filter_map(|(name, node)| Some((leads(node)?, name)));
        let Some((_, node)) = found.max_by_key(|(leads, _)| *leads) else {
            return Err(format!("the group {:016x} is in none of the stores", group.0));
        };
        let place = match places.get(group) {
            Some(known) => Place {
                host: node.host.clone(),
                moving_to: None,
                ..known.clone()
            },
            None => names.adopted(index, &node.host, None),
        };
        places.set(group, place);
    }
    Ok((record, places))
}
