//! Partitions that stand still for a merge whose end nobody has seen: the operator that began it was killed, an answer was lost,
//! a person went away. They serve nobody, so that this comes before everything else, whatever else is under way.
//!
//! 1. Where the partition is meant to be absorbed (`mergingInto`) the merge is made, or given up if it cannot be
//!    ([`crate::table::merge`]);
//! 2. where nothing may be changed, or it is not known which partitions there are, it is given up;
//! 3. one that somebody else has begun is given up after a while.

use partita_model::admin::Frozen;
use partita_model::partition::GroupId;

use super::repartition::Growth;
use super::{Action, MergeOrder, Plan, adopt};
use crate::nodes::NodeName;
use crate::table::observe::Observed;

/// A merge that somebody else has begun is theirs for so long, in milliseconds: `partita admin merge` gives up or ends before.
const BY_HAND_MS: u64 = 150_000;

/// Brings what stands still to an end, first of all that is planned.
pub fn plan(plan: &mut Plan, observed: &Observed, known: &Growth, now_ms: u64) {
    let leaders = adopt::leaders(observed);
    let stands_still = leaders.values().any(|(_, state)| state.lineage.frozen.is_some());
    if !stands_still && !known.knows_of_frozen() {
        return;
    }
    let growth = plan.growth.get_or_insert_with(|| known.clone());
    let mut orders = Vec::new();
    let mut words = None;
    for (source, (node, state)) in &leaders {
        let frozen = state.lineage.frozen.as_ref();
        let since_ms = growth.note_frozen(*source, frozen.is_some(), now_ms);
        let Some(frozen) = frozen else { continue };
        growth.ask_again(now_ms);
        words.get_or_insert_with(|| told(observed, *source, frozen));
        let Some((absorber_node, _)) = leaders.get(&frozen.absorber) else {
            continue;
        };
        let given_up = match is_meant(observed, *source) {
            true if observed.table.spec.paused => Some("spec.paused is true".to_owned()),
            true if observed.uncovered.is_some() => Some("Partition resources are missing".to_owned()),
            true => None,
            false if now_ms.saturating_sub(since_ms) < BY_HAND_MS => continue,
            false => Some("it was begun by somebody else, who did not go on".to_owned()),
        };
        orders.push(order(*source, (*node, frozen), (*absorber_node).clone(), given_up));
    }
    plan.actions.splice(0..0, orders);
    if let Some(words) = words {
        plan.beside.get_or_insert(("Repartitioning", words));
    }
}

/// Whether it is by our intention that a group is absorbed.
fn is_meant(observed: &Observed, source: GroupId) -> bool {
    let place = observed.places.get(source);
    place.is_some_and(|place| place.merging_into.is_some())
}

fn told(observed: &Observed, source: GroupId, frozen: &Frozen) -> String {
    format!(
        "{} stands still for the merge {} into {}, which comes to its end first",
        observed.partition_of(source),
        frozen.id,
        observed.partition_of(frozen.absorber)
    )
}

fn order(
    source: GroupId,
    (source_node, frozen): (&NodeName, &Frozen),
    absorber_node: NodeName,
    given_up: Option<String>,
) -> Action {
    Action::Merge(Box::new(MergeOrder {
        absorber: frozen.absorber,
        absorber_node,
        source,
        source_node: source_node.clone(),
        id: frozen.id.clone(),
        given_up,
    }))
}
