//! The deletion of a Table. Its children go with it, by their owner references. Claims have no owner: under
//! `deletionPolicy: Retain` they stay, under `Delete` they are removed once no pod uses them.

use partita_crds::table::DeletionPolicy;
use partita_model::table::Status;

use super::{Action, Plan, Problem, has_finalizer};
use crate::table::observe::{Observed, own_id};

/// Plans a pass.
pub fn plan(observed: &Observed) -> Plan {
    let spec = &observed.table.spec;
    let record = observed.record().cloned();
    if !has_finalizer(observed) {
        return Plan {
            quiet: true,
            ..Plan::default()
        };
    }
    if spec.paused {
        let message = "spec.paused: the Table is not deleted while it is true";
        return Plan::problem(record, Problem::held("Paused", message));
    }
    if spec.deletion_protection_enabled {
        let message = "spec.deletionProtectionEnabled: set it to false, and the Table is deleted";
        return Plan::problem(record, Problem::held("DeletionProtected", message));
    }
    match spec.deletion_policy {
        DeletionPolicy::Retain => Plan::only(Action::RemoveFinalizer),
        DeletionPolicy::Delete => delete(observed),
    }
}

/// StatefulSets, then (when their pods are gone) claims, then the Table.
fn delete(observed: &Observed) -> Plan {
    // Routers serve it no more.
    let record = observed.record().cloned().map(|mut record| {
        record.status = Status::Deleting;
        record
    });
    let waits = |waiting: String, actions: Vec<Action>| Plan {
        actions,
        record: record.clone(),
        waiting: Some(waiting),
        ..Plan::default()
    };
    let sets: Vec<Action> = observed
        .stateful_sets
        .iter()
        .filter(|(_, set)| set.metadata.deletion_timestamp.is_none())
        .map(|(name, _)| Action::DeleteStatefulSet(name.clone()))
        .collect();
    if !observed.stateful_sets.is_empty() {
        return waits("removing the storage nodes".to_owned(), sets);
    }
    if observed.pods > 0 {
        return waits("waiting for the storage nodes to stop".to_owned(), Vec::new());
    }
    // Never those of data that was only about to be adopted.
    let id = observed
        .record()
        .map_or_else(|| own_id(&observed.table), |record| record.id);
    let claims = observed.claims.iter().filter(|claim| claim.table == id);
    let mut actions: Vec<Action> = claims.map(|claim| Action::DeleteClaim(claim.name.clone())).collect();
    actions.push(Action::RemoveFinalizer);
    Plan {
        actions,
        quiet: true,
        ..Plan::default()
    }
}
