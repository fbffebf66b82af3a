//! Volumes grow without anybody being stopped.
//!
//! 1. The claims ask for more;
//! 2. the cluster makes the volumes larger, in its own time;
//! 3. the StatefulSet is removed without its pods (claim templates cannot be changed), and made again with the new size in the
//!    next pass: that it says the new size means that all of this is done.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::Action;
use crate::nodes::NodeName;
use crate::table::children::growth::{is_less, wanted};
use crate::table::children::is_ours;
use crate::table::observe::Observed;

/// What is to be done about volumes.
#[derive(Debug, Default)]
pub struct Growth {
    /// In this order.
    pub actions: Vec<Action>,
    /// What is waited for.
    pub waiting: Option<String>,
}

/// Plans the growth of a table's volumes.
pub fn plan(observed: &Observed) -> Growth {
    let mut growth = Growth::default();
    for (name, set) in &observed.stateful_sets {
        if let Some(size) = wanted(observed, name).filter(|_| is_ours(&observed.table, &set.metadata)) {
            grow(&mut growth, observed, name, set, &size);
        }
    }
    growth
}

/// How far one volume is.
enum State {
    Grown,
    Asked(String),
    Asking(Box<Action>, String),
}

fn grow(growth: &mut Growth, observed: &Observed, name: &str, set: &StatefulSet, size: &Quantity) {
    let volumes = (0..observed.pods_of(name)).map(|ordinal| volume(observed, &NodeName::new(name, ordinal), size));
    let mut grown = true;
    for state in volumes {
        let words = match state {
            State::Grown => continue,
            State::Asked(words) => words,
            State::Asking(action, words) => {
                growth.actions.push(*action);
                words
            }
        };
        grown = false;
        growth.waiting.get_or_insert(words);
    }
    if grown {
        let uid = set.uid().unwrap_or_default();
        growth.actions.push(Action::ReplaceStatefulSet(name.to_owned(), uid));
        growth
            .waiting
            .get_or_insert_with(|| format!("making the StatefulSet {name} anew, with volumes of {}", size.0));
    }
}

fn volume(observed: &Observed, node: &NodeName, size: &Quantity) -> State {
    let claim = observed.claims.iter().find(|claim| claim.name == node.claim());
    match claim.and_then(|claim| Some((claim, claim.volume.as_ref()?))) {
        Some((claim, volume)) if is_less(&volume.asked, size) => State::Asking(
            Box::new(Action::GrowClaim(claim.name.clone(), size.clone())),
            format!("growing the volume of {node} to {}", size.0),
        ),
        Some((_, volume)) if volume.capacity.as_ref().is_none_or(|capacity| is_less(capacity, size)) => {
            let why = volume.waits.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            State::Asked(format!("waiting for the volume of {node} to be {}{why}", size.0))
        }
        // Or it was never made.
        _ => State::Grown,
    }
}
