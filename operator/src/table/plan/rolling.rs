//! Pods that were made from an older template are restarted, so many groups at a time ([`crate::rolling`]), and one replica of a
//! group after the other: followers before leaders, each once all of the group's replicas have caught up. A leader that is
//! stopped hands over. A pod that does not serve has nothing to lose: it is replaced at once, also one that
//! found no place when the next one asks for less. One that Kubernetes takes for not ready and that answers all the same may be needed: it waits for
//! its turn, and until the others can do without it.
//!
//! Where mutual TLS was turned on or off, all are replaced at once: the old and the new ones do not understand each other, nor
//! does the operator understand the old ones, so that none would ever have caught up.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_model::table::record::Record;

use super::Action;
use crate::nodes::NodeName;
use crate::table::children::growth::is_less;
use crate::table::children::node::made_from;
use crate::table::children::{Piece, is_ours};
use crate::table::observe::{Node, Observed};
use crate::table::pods::{StoragePod, peer_tls, requests};
use crate::table::replicas::Replicas;

/// What is to be done about pods.
#[derive(Debug, Default)]
pub struct Rolling {
    /// In this order.
    pub actions: Vec<Action>,
    /// What is under way.
    pub waiting: Option<String>,
}

/// Plans the restarts of a table's pods.
pub fn plan(observed: &Observed, record: &Record) -> Rolling {
    let mut rolling = Rolling::default();
    let all = observed.pieces(record);
    for (host, set) in &observed.stateful_sets {
        // The controller makes the next pod from what it has seen.
        let seen = set.status.as_ref().and_then(|status| status.observed_generation) >= set.metadata.generation;
        if !seen || !is_ours(&observed.table, &set.metadata) {
            continue;
        }
        let here: Vec<&Piece> = all.iter().filter(|piece| piece.is_on(host)).collect();
        of_set(&mut rolling, observed, host, set, &here);
    }
    rolling
}

fn of_set(rolling: &mut Rolling, observed: &Observed, host: &str, set: &StatefulSet, here: &[&Piece]) {
    let pods = observed.storage_pods.iter().filter(|(node, _)| node.host == host);
    let outdated = pods.filter(|(_, pod)| pod.made_from.as_ref() != made_from(set) || asks_too_much(pod, set));
    let outdated: Vec<(&NodeName, &StoragePod)> = outdated.collect();
    if outdated.is_empty() {
        return;
    }
    let restart = |node: &NodeName, pod: &StoragePod| Action::RestartPod {
        node: node.clone(),
        uid: pod.uid.clone(),
        serves: pod.ready,
    };
    let next_pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let strange: Vec<_> = outdated
        .iter()
        .filter(|(_, pod)| pod.peer_tls != peer_tls(next_pod) && !pod.leaving)
        .collect();
    if !strange.is_empty() {
        let replaced = strange.iter().map(|(node, pod)| Action::RestartPod {
            node: (*node).clone(),
            uid: pod.uid.clone(),
            serves: false,
        });
        rolling.actions.extend(replaced);
        let words = "mutual TLS was turned on or off: all storage nodes restart at once";
        rolling.waiting.get_or_insert(words.to_owned());
        return;
    }
    let answers = |node: &NodeName| matches!(observed.nodes.get(node), Some(Node::Store(_)));
    let (limping, away): (Vec<_>, Vec<_>) = outdated
        .iter()
        .filter(|(_, pod)| !pod.ready && !pod.leaving)
        .partition(|(node, _)| answers(node));
    rolling
        .actions
        .extend(away.iter().map(|(node, pod)| restart(node, pod)));
    let dispensable = limping
        .iter()
        .find(|(node, _)| others_suffice(observed, host, node, here));
    let words = match is_whole(observed, host, here) {
        Err(_) if away.is_empty() && dispensable.is_some() => {
            let taken = dispensable.map(|(node, pod)| Action::RestartPod {
                node: (*node).clone(),
                uid: pod.uid.clone(),
                serves: true,
            });
            rolling.actions.extend(taken);
            "restarting storage nodes that run with an older image or settings, and are not ready".to_owned()
        }
        Ok(()) => {
            let next = outdated.iter().filter(|(_, pod)| pod.ready);
            let next = next.min_by_key(|(node, _)| leads(observed, node, here));
            rolling.actions.extend(next.map(|(node, pod)| restart(node, pod)));
            "restarting storage nodes that run with an older image or settings, a few groups at a time".to_owned()
        }
        Err(missing) => {
            format!("storage nodes run with an older image or settings; before the next restart: {missing}")
        }
    };
    rolling.waiting.get_or_insert(words);
}

/// Whether a pod found no place, and the next one would ask for less.
fn asks_too_much(pod: &StoragePod, set: &StatefulSet) -> bool {
    let next = requests(set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()));
    let less = |(kind, asked): (&String, &Quantity)| next.get(kind).is_some_and(|next| is_less(next, asked));
    pod.unplaced && pod.requests.iter().any(less)
}

/// Whether every pod serves and all replicas have caught up, so that one of them may be away; else what is missing. Where there
/// is one replica, there is nothing to wait for.
fn is_whole(observed: &Observed, host: &str, here: &[&Piece]) -> Result<(), String> {
    if observed.pods_of(host) <= 1 {
        return Ok(());
    }
    for ordinal in 0..observed.pods_of(host) {
        let node = NodeName::new(host, ordinal);
        let pod = observed.storage_pods.get(&node);
        if pod.is_none_or(|pod| !pod.ready) {
            let why = observed
                .trouble(&node)
                .map(|why| format!(": {why}"))
                .unwrap_or_default();
            return Err(format!("waiting for {node} to be ready{why}"));
        }
    }
    for piece in here {
        let replicas = Replicas::of(observed, piece);
        if replicas.is_none_or(|replicas| !replicas.is_whole()) {
            return Err(format!("waiting for the replicas of {} to catch up", piece.name));
        }
    }
    Ok(())
}

/// Whether all other pods answer, and each group either has no leader, so that it loses nothing, or all of its replicas but this node's
/// have caught up and are a quorum.
fn others_suffice(observed: &Observed, host: &str, node: &NodeName, here: &[&Piece]) -> bool {
    let others = (0..observed.pods_of(host)).map(|ordinal| NodeName::new(host, ordinal));
    let mut others = others.filter(|other| other != node);
    others.all(|other| matches!(observed.nodes.get(&other), Some(Node::Store(_))))
        && here.iter().all(|piece| {
            Replicas::of(observed, piece).is_some_and(|replicas| match replicas.leader() {
                Some(leader) => replicas.can_do_without(&leader, node),
                None => true,
            })
        })
}

/// How many groups a node leads.
fn leads(observed: &Observed, node: &NodeName, here: &[&Piece]) -> usize {
    let led = here.iter().filter(|piece| {
        let replicas = Replicas::of(observed, piece);
        replicas.is_some_and(|replicas| replicas.leader().is_some_and(|leader| leader.name == node))
    });
    led.count()
}
