//! Volumes that are gone with their node are given up after a while ([`crate::table::lost`]), if the other replicas have caught up
//! and are enough: the claim is deleted, and its pod, so that their StatefulSet makes both anew, wherever there is a place. The new
//! store is a stranger, and gets a new replica (`members`).

use std::time::Duration;

use partita_model::table::record::Record;

use super::Action;
use crate::nodes::NodeName;
use crate::table::lost::patience;
use crate::table::observe::Observed;
use crate::table::replicas::Replicas;

/// What is to be done about lost volumes.
#[derive(Debug, Default)]
pub struct Lost {
    /// In this order.
    pub actions: Vec<Action>,
    /// What is under way.
    pub waiting: Option<String>,
    /// What people should hear of.
    pub news: Option<(&'static str, String)>,
}

/// Plans what becomes of them.
pub fn plan(observed: &Observed, record: &Record) -> Lost {
    let mut lost = Lost::default();
    let Some(patience) = patience(&observed.table) else {
        return lost;
    };
    for (name, gone) in &observed.gone {
        let Some(pod) = observed.storage_pods.get(name) else {
            continue;
        };
        if Duration::from_millis(gone.for_ms) < patience {
            let words = format!("the node of {name}'s volume is gone; it is given up {patience:?} after that was seen");
            lost.waiting.get_or_insert(words);
        } else if let Err(missing) = others_suffice(observed, record, name) {
            let words = format!("the node of {name}'s volume is gone; before it is given up: {missing}");
            lost.waiting.get_or_insert(words);
        } else {
            lost.actions.push(Action::GiveUpClaim(name.clone(), gone.claim.clone()));
            lost.actions.push(Action::RestartPod {
                node: name.clone(),
                uid: pod.uid.clone(),
                serves: false,
            });
            lost.news.get_or_insert_with(|| {
                let words = format!("the node of {name}'s volume is gone for good: the replica is made anew elsewhere");
                ("VolumeGivenUp", words)
            });
        }
    }
    lost
}

/// Whether every group of a StatefulSet has a quorum of replicas that have caught up, without this one; else what is missing.
fn others_suffice(observed: &Observed, record: &Record, name: &NodeName) -> Result<(), String> {
    for piece in observed
        .pieces(record)
        .into_iter()
        .filter(|piece| piece.is_on(&name.host))
    {
        let replicas = Replicas::of(observed, &piece);
        let suffice = replicas.is_some_and(|replicas| {
            let voters = replicas.leader().map(|leader| leader.group.replication.members.len());
            voters.is_some_and(|voters| 2 * replicas.caught_up() > voters)
        });
        if !suffice {
            return Err(format!("the other replicas of {} must have caught up", piece.name));
        }
    }
    Ok(())
}
