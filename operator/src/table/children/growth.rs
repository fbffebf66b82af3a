//! The size that the volumes of a storage node should have. Pure.
//!
//! 1. The claim template of the node's StatefulSet says how large its volume was made, or has grown: it is replaced last.
//! 2. A Table's `storage.size` is a floor: volumes grow up to it, and never shrink.
//! 3. With a `storage.maxSize`, a node one of whose volumes is nearly full gets larger ones, step by step up to that. The
//!    claims hold the step that was begun: a volume that has grown is not full any more, and the others still follow.
//! 4. A node that ends again and again cannot say that its volume is full: what it said last counts.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_crds::names;
use partita_model::admin::VolumeState;
use partita_planning::quantity::nanos;

use super::node::storage;
use crate::nodes::NodeName;
use crate::table::claims::Claim;
use crate::table::observe::{Node, Observed};

/// A volume this full gets larger: cloud disks take minutes to grow, and some only once in six hours.
const FULL_PERCENT: u128 = 80;
/// One whose node ends again and again was this full when it was last seen: it may have filled within the minutes since, and lack of
/// room may be why.
const FULL_PERCENT_CRASHING: u128 = 60;
/// A file system this much larger than its claim is not the claim's own (a folder of the host's, say): what else is in it
/// says nothing about the table, and a larger claim would not make it larger.
const OWN_PERCENT_MAX: i128 = 125;
/// One this much smaller is still growing to what its volume has become.
const OWN_PERCENT_MIN: i128 = 75;
const MIB: i128 = 1 << 20;
const MIB_IN_GIB: i128 = 1 << 10;
/// Of [`nanos`].
const NANO: i128 = 1_000_000_000;

/// The size that a StatefulSet's volumes should grow to, if they should.
pub fn wanted(observed: &Observed, host: &str) -> Option<Quantity> {
    let (size, _) = storage(observed.stateful_sets.get(host)?)?;
    let floor = observed.table.spec.storage.as_ref()?.size.clone();
    let begun = made(
        observed,
        host,
        floor.map_or(size.clone(), |floor| larger(size.clone(), floor)),
    );
    if is_less(&size, &begun) {
        return Some(begun);
    }
    let most = max_size(observed)?;
    let mut here = observed.nodes.iter().filter(|(node, _)| node.host == host);
    let full = here.any(|(node, state)| {
        let (volume, percent) = match state {
            Node::Store(store) => (store.volume.as_ref(), FULL_PERCENT),
            Node::Silent if !is_crashing(observed, node) => return false,
            Node::Silent => (observed.volumes.get(node), FULL_PERCENT_CRASHING),
        };
        is_full(observed, node, &size, volume, percent)
    });
    let step = full.then(|| step(&size, most))??;
    is_less(&size, &step).then_some(step)
}

/// The size that volumes are made with: those of a node whose StatefulSet is being replaced may have grown.
pub fn made(observed: &Observed, host: &str, size: Quantity) -> Quantity {
    let asked = claims(observed, host).filter_map(|claim| Some(claim.volume.as_ref()?.asked.clone()));
    asked.fold(size, larger)
}

/// Whether it can be told that no volume has to grow: one that grows by itself does so when its node says that it is full.
pub fn can_tell(observed: &Observed) -> bool {
    let answers = |node: NodeName| matches!(observed.nodes.get(&node), Some(Node::Store(_)));
    let mut hosts = observed.stateful_sets.keys();
    max_size(observed).is_none()
        || hosts.all(|host| (0..observed.pods_of(host)).all(|ordinal| answers(NodeName::new(host, ordinal))))
}

/// Whether a volume of the table should grow, or may have begun to.
pub fn is_asked_for(observed: &Observed) -> bool {
    max_size(observed).is_some()
        || observed
            .stateful_sets
            .keys()
            .any(|host| wanted(observed, host).is_some())
}

/// Up to where volumes grow by themselves.
pub fn max_size(observed: &Observed) -> Option<&Quantity> {
    observed.table.spec.storage.as_ref()?.max_size.as_ref()
}

/// Whether one amount is less than another. What is no amount is not.
pub fn is_less(one: &Quantity, other: &Quantity) -> bool {
    matches!((nanos(one), nanos(other)), (Some(one), Some(other)) if one < other)
}

fn larger(one: Quantity, other: Quantity) -> Quantity {
    if is_less(&one, &other) { other } else { one }
}

fn claims<'a>(observed: &'a Observed, host: &str) -> impl Iterator<Item = &'a Claim> {
    let of_host = names::claim(host);
    let is_of = move |claim: &&Claim| claim.name.rsplit_once('-').is_some_and(|(name, _)| name == of_host);
    observed.claims.iter().filter(is_of)
}

fn is_crashing(observed: &Observed, node: &NodeName) -> bool {
    observed.storage_pods.get(node).is_some_and(|pod| pod.crashing)
}

fn is_full(
    observed: &Observed,
    node: &NodeName,
    size: &Quantity,
    volume: Option<&VolumeState>,
    full_percent: u128,
) -> bool {
    let Some(volume) = volume else { return false };
    let claim = observed.claims.iter().find(|claim| claim.name == node.claim());
    let capacity = claim.and_then(|claim| claim.volume.as_ref()?.capacity.as_ref());
    let Some(capacity) = nanos(capacity.unwrap_or(size)) else {
        return false;
    };
    let percent = i128::from(volume.total_bytes) * 100 / (capacity / NANO).max(1);
    if !(OWN_PERCENT_MIN..=OWN_PERCENT_MAX).contains(&percent) {
        return false;
    }
    let used = volume.total_bytes.saturating_sub(volume.free_bytes);
    u128::from(used) * 100 >= u128::from(volume.total_bytes) * full_percent
}

/// Half as much again, in whole mebibytes, and not beyond the most.
fn step(size: &Quantity, most: &Quantity) -> Option<Quantity> {
    let mebibytes = (nanos(size)? / NANO * 3 / 2 + MIB - 1) / MIB;
    let next = if mebibytes % MIB_IN_GIB == 0 {
        format!("{}Gi", mebibytes / MIB_IN_GIB)
    } else {
        format!("{mebibytes}Mi")
    };
    let next = Quantity(next);
    Some(if is_less(&next, most) { next } else { most.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_half_as_much_again_up_to_the_most() {
        for (size, most, next) in [
            ("30Gi", "100Gi", "45Gi"),
            ("45Gi", "100Gi", "69120Mi"),
            ("80Gi", "100Gi", "100Gi"),
            ("1G", "1T", "1431Mi"),
            ("100Gi", "40Gi", "40Gi"),
        ] {
            let found = step(&Quantity(size.into()), &Quantity(most.into()));
            assert_eq!(found, Some(Quantity(next.into())), "{size} up to {most}");
        }
    }
}
