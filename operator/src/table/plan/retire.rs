//! Storage nodes that no partition is on any more, nor moves to: they go, with their volumes.
//!
//! 1. All of them have said that they hold nothing: the StatefulSet is deleted, and its pods with it;
//! 2. once these are gone, the claims are, and last the Service and the disruption budget. As long as the Service is there, somebody
//!    remembers the rest.

use std::collections::BTreeSet;

use kube::ResourceExt;
use partita_model::table::record::Record;

use super::Action;
use crate::nodes::NodeName;
use crate::table::children::places::number;
use crate::table::children::{hosts, is_ours, prefix};
use crate::table::observe::{Node, Observed};

/// What is to be done about storage nodes that are not needed any more.
#[derive(Debug, Default)]
pub struct Retirement {
    /// In this order.
    pub actions: Vec<Action>,
    /// What is under way.
    pub waiting: Option<String>,
}

/// Names of StatefulSets and Services that nothing is on.
pub fn unneeded(observed: &Observed, record: &Record) -> BTreeSet<String> {
    let needed = hosts(&observed.pieces(record));
    let sets = observed.stateful_sets.iter().map(|(name, set)| (name, &set.metadata));
    let services = observed
        .services
        .iter()
        .map(|(name, service)| (name, &service.metadata));
    let known = sets
        .chain(services)
        .filter(|(_, metadata)| is_ours(&observed.table, metadata));
    let names = known.map(|(name, _)| name.clone());
    names.filter(|name| !needed.contains(name)).collect()
}

/// Plans a pass.
pub fn plan(observed: &Observed, record: &Record) -> Retirement {
    let mut retirement = Retirement::default();
    for host in unneeded(observed, record) {
        let words = match step(observed, record, &host, &mut retirement.actions) {
            Ok(()) => format!("removing the storage nodes {host}: no partition is on them any more"),
            Err(missing) => format!("before the storage nodes {host} are removed: {missing}"),
        };
        retirement.waiting.get_or_insert(words);
    }
    retirement
}

fn step(observed: &Observed, record: &Record, host: &str, actions: &mut Vec<Action>) -> Result<(), String> {
    if let Some(set) = observed.stateful_sets.get(host) {
        for ordinal in 0..observed.pods_of(host) {
            let node = NodeName::new(host, ordinal);
            match observed.nodes.get(&node) {
                Some(Node::Store(store)) if store.groups.is_empty() => {}
                Some(Node::Store(_)) => return Err(format!("{node} still holds a replica")),
                Some(Node::Silent) | None => return Err(format!("{node} must say that it holds nothing")),
            }
        }
        actions.push(Action::DeleteStatefulSet(
            host.to_owned(),
            set.uid().unwrap_or_default(),
        ));
        return Ok(());
    }
    let place = number(&prefix(record), host);
    let Some(left) = observed.retired.get(host) else {
        return Err("its pods and claims are not known yet".to_owned());
    };
    if left.pods > 0 {
        return Err("waiting for its pods to stop".to_owned());
    }
    let claims = left
        .claims
        .iter()
        .filter(|claim| claim.table == record.id && claim.place == place);
    actions.extend(claims.map(|claim| Action::DeleteClaim(claim.name.clone(), claim.uid.clone())));
    actions.push(Action::DeleteDisruptionBudget(host.to_owned()));
    actions.push(Action::DeleteService(host.to_owned()));
    Ok(())
}
