//! The deletion of a Table. Its children go with it, by their owner references. Claims have no owner: under
//! `deletionPolicy: Retain` they stay, under `Delete` they are removed once no pod uses them.
//!
//! A Table that is protected or paused is [`held`]: it goes on as if nobody had deleted it. (The chart's admission policy refuses such a
//! deletion in the first place. Here are those that came before the protection, or where there is no policy. A deletion in the foreground takes
//! the children along all the same, whatever holds their owner: they are made again.)

use kube::ResourceExt;
use partita_crds::names;
use partita_crds::table::DeletionPolicy;
use partita_model::table::Status;

use super::{Action, Plan, Problem};
use crate::table::observe::{Observed, own_id};

/// What is said of a Table that is to be deleted and is held.
pub fn held(observed: &Observed) -> Option<Problem> {
    if observed.table.metadata.deletion_timestamp.is_none() || observed.deleting() {
        return None;
    }
    if observed.table.spec.paused {
        let message = "spec.paused: the Table is not deleted while it is true";
        return Some(Problem::held("Paused", message));
    }
    let message = format!(
        "spec.deletionProtectionEnabled: the Table was deleted, which cannot be taken back, and goes on until this is false. To keep its data: \
         with deletionPolicy Retain set it to false, and when the Table is gone apply it again with bootstrap.adopt: {:?}",
        names::id_label(observed.id())
    );
    Some(Problem::held("DeletionProtected", message))
}

/// Plans a pass.
pub fn plan(observed: &Observed) -> Plan {
    match observed.table.spec.deletion_policy {
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
        .map(|(name, set)| Action::DeleteStatefulSet(name.clone(), set.uid().unwrap_or_default()))
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
    let mut actions: Vec<Action> = claims
        .map(|claim| Action::DeleteClaim(claim.name.clone(), claim.uid.clone()))
        .collect();
    actions.push(Action::RemoveFinalizer);
    Plan {
        actions,
        quiet: true,
        ..Plan::default()
    }
}
