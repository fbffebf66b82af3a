//! The size that the volumes of a storage node should have. Pure.
//!
//! The claim template of the node's StatefulSet says how large its volume was made, or has grown: it is replaced last. A Table's
//! `storage.size` is a floor: volumes grow up to it, and never shrink.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_crds::Table;

use super::node::storage;
use crate::table::observe::Observed;
use partita_planning::quantity::nanos;

/// The size that a volume should grow to, if it should.
pub fn wanted(table: &Table, set: &StatefulSet) -> Option<Quantity> {
    let (size, _) = storage(set)?;
    let floor = table.spec.storage.as_ref()?.size.clone()?;
    is_less(&size, &floor).then_some(floor)
}

/// Whether a volume of the table should grow.
pub fn is_asked_for(observed: &Observed) -> bool {
    let mut sets = observed.stateful_sets.values();
    sets.any(|set| wanted(&observed.table, set).is_some())
}

/// Whether one amount is less than another. What is no amount is not.
pub fn is_less(one: &Quantity, other: &Quantity) -> bool {
    matches!((nanos(one), nanos(other)), (Some(one), Some(other)) if one < other)
}
