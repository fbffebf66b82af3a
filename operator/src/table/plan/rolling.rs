//! Pods that were made from an older template are restarted, so many groups at a time ([`crate::rolling`]). A pod that does not
//! serve has nothing to lose: it is replaced at once.

use super::Action;
use crate::table::children::is_ours;
use crate::table::children::node::made_from;
use crate::table::observe::Observed;

/// What is to be done about pods.
#[derive(Debug, Default)]
pub struct Rolling {
    /// In this order.
    pub actions: Vec<Action>,
    /// What is under way.
    pub waiting: Option<String>,
}

/// Plans the restarts of a table's pods.
pub fn plan(observed: &Observed) -> Rolling {
    let mut rolling = Rolling::default();
    for (name, set) in &observed.stateful_sets {
        let Some(pod) = observed.storage_pods.get(name) else {
            continue;
        };
        // The controller makes the next pod from what it has seen.
        let seen = set.status.as_ref().and_then(|status| status.observed_generation) >= set.metadata.generation;
        if !seen || !is_ours(&observed.table, &set.metadata) || pod.made_from.as_ref() == made_from(set) {
            continue;
        }
        if !pod.leaving {
            rolling.actions.push(Action::RestartPod {
                host: name.clone(),
                uid: pod.uid.clone(),
                serves: pod.ready,
            });
        }
        rolling.waiting.get_or_insert_with(|| {
            "restarting storage nodes that run with an older image or settings, a few groups at a time".to_owned()
        });
    }
    rolling
}
