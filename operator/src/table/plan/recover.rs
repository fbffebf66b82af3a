//! Data that is there without the resources that tell of it: retained data that is adopted, or Partitions that somebody
//! deleted. The stores know what they hold.
//!
//! 1. Storage nodes are made (again) for the claims that are there;
//! 2. when all of them have answered, [`Record::recover`] finds ranges and schema;
//! 3. what follows from it is written; from then on it is a table like any other.

use std::collections::BTreeMap;

use partita_crds::names;
use partita_model::admin::GroupState;
use partita_model::key::KeyBytes;
use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::schema::TableId;
use partita_model::table::record::{Circumstances, PartitionRecord, Record};

use super::nodes::{self, Nodes};
use super::{Action, Plan, Problem};
use crate::nodes::NodeName;
use crate::settings::Settings;
use crate::table::children::{difference, partition, pieces};
use crate::table::claims::Claim;
use crate::table::observe::{Node, Observed};
use crate::table::validate::Valid;

/// The record of a table of which nothing is kept but its data.
pub fn record(observed: &Observed, valid: &Valid, id: TableId, settings: &Settings, at: Circumstances) -> Plan {
    let account = names::account(&observed.namespace);
    let mut sketch = Record::create(&account, valid.spec.clone(), valid.owner.clone(), id, at);
    let known = match known(observed, &mut sketch, settings) {
        Ok(known) => known,
        Err(not_yet) => return *not_yet,
    };
    let recovered = Record::recover(&account, valid.spec.clone(), valid.owner.clone(), id, &known, at);
    match recovered
        .map_err(|error| error.to_string())
        .and_then(|record| placed(observed, record))
    {
        Ok(record) => Plan {
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
    let known = match known(observed, &mut sketch, settings) {
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
        Ok(found) => {
            let wanted = pieces(&found).into_iter().map(|piece| {
                let desired = partition::partition(&observed.table, record, &piece, observed.replicas());
                (piece.name, difference::marked(desired))
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
        Err(reason) => {
            let message =
                format!("Partition resources are missing, and the storage nodes do not have them either: {reason}");
            Plan::problem(Some(record.clone()), Problem::stalled("StoreLost", message))
        }
    }
}

/// What all storage nodes of a table know, or the plan of a pass that makes (or waits for) them. `sketch` gets as many
/// partitions as there are StatefulSets: units are shared among them.
fn known(observed: &Observed, sketch: &mut Record, settings: &Settings) -> Result<Vec<PartitionDescriptor>, Box<Plan>> {
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
    let Nodes { actions, waiting } = nodes::storage(observed, sketch, &places, settings);
    let prefix = names::prefix(&sketch.spec.name, sketch.id);
    let mut with_data = claims.iter().filter_map(|claim| {
        let host = names::partition(&prefix, claim.place?);
        Some(NodeName::new(&host, claim.ordinal?))
    });
    let silent = with_data.find(|name| !matches!(observed.nodes.get(name), Some(Node::Store(_))));
    let waiting =
        waiting.or_else(|| silent.map(|name| format!("waiting for the storage node {name}, to see what it holds")));
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

/// Every group once, as the replica describes it that knows its latest range (of these, the leader).
fn groups(observed: &Observed) -> Vec<PartitionDescriptor> {
    let stores = observed.nodes.values().filter_map(|node| match node {
        Node::Store(store) => Some(store),
        Node::Silent => None,
    });
    let mut known: BTreeMap<GroupId, &GroupState> = BTreeMap::new();
    for group in stores.flat_map(|store| &store.groups) {
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

/// Checks that every group is where its name says.
fn placed(observed: &Observed, record: Record) -> Result<Record, String> {
    let misplaced = pieces(&record)
        .into_iter()
        .find(|piece| !observed.holds(&piece.host, piece.descriptor.group));
    match misplaced {
        None => Ok(record),
        Some(piece) => Err(format!(
            "the partition {} should be in the stores of {}, and is in another one",
            piece.name, piece.host
        )),
    }
}
