//! Volumes grow without anybody being stopped.
//!
//! 1. The claim asks for more;
//! 2. the cluster makes the volume larger, in its own time;
//! 3. the StatefulSet is removed without its pod (claim templates cannot be changed), and made again with the new size in the
//!    next pass: that it says the new size means that all of this is done.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use partita_crds::names;

use super::Action;
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
        if let Some(size) = wanted(&observed.table, set).filter(|_| is_ours(&observed.table, &set.metadata)) {
            grow(&mut growth, observed, name, set, &size);
        }
    }
    growth
}

fn grow(growth: &mut Growth, observed: &Observed, name: &str, set: &StatefulSet, size: &Quantity) {
    let claim = observed.claims.iter().find(|claim| claim.name == names::claim(name));
    match claim.and_then(|claim| Some((claim, claim.volume.as_ref()?))) {
        Some((claim, volume)) if is_less(&volume.asked, size) => {
            growth.actions.push(Action::GrowClaim(claim.name.clone(), size.clone()));
            growth
                .waiting
                .get_or_insert_with(|| format!("growing the volume of {name}-0 to {}", size.0));
        }
        Some((_, volume)) if volume.capacity.as_ref().is_none_or(|capacity| is_less(capacity, size)) => {
            let why = volume.waits.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let waiting = format!("waiting for the volume of {name}-0 to be {}{why}", size.0);
            growth.waiting.get_or_insert(waiting);
        }
        // Grown; or it was never made.
        _ => {
            let uid = set.uid().unwrap_or_default();
            growth.actions.push(Action::ReplaceStatefulSet(name.to_owned(), uid));
            growth
                .waiting
                .get_or_insert_with(|| format!("making the StatefulSet {name} anew, with volumes of {}", size.0));
        }
    }
}
