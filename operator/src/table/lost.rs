//! Volumes that are gone with their node: a local disk, say.
//!
//! 1. [`observe`] looks at storage nodes that no node takes: is there any node left that their volume can be used on?
//! 2. [`Absences`] remembers since when there is none: nodes reboot, and may come back with their disks.
//! 3. After `storage.replaceLostAfter` the plan gives the claim up, if the other replicas can do without (`plan::lost`).
//!
//! Kept in memory: an operator that is started again is patient anew.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use partita_crds::Table;
use partita_crds::table::Storage;

use super::Context;
use super::observe::Observed;
use crate::nodes::NodeName;

/// The label of a node that says which host it is.
const HOST: &str = "kubernetes.io/hostname";

/// A storage node whose volume can be used nowhere any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its claim's uid.
    pub claim: String,
    /// For so long, in milliseconds, as far as this process has seen.
    pub for_ms: u64,
}

/// Between two looks no more than so many milliseconds are counted: a table that lacks a pod is looked at every few seconds, and
/// a clock that was put forward says nothing.
const COUNTED_MS_MAX: u64 = 60_000;

/// For how long claims (by uid) have been without a node for their volume, by the uid of their Table.
#[derive(Debug, Default)]
pub struct Absences(Mutex<HashMap<String, BTreeMap<String, Absence>>>);

#[derive(Debug, Clone, Copy)]
struct Absence {
    /// So many milliseconds have been counted.
    for_ms: u64,
    /// When it was seen last.
    seen_ms: u64,
}

impl Absences {
    /// Notes which volumes of a Table have no node now, and for how long each has had none. Every other one has a node, or is not known
    /// to have none: if it loses it, that begins anew.
    fn note(&self, table: &str, claims: &[String], now_ms: u64) -> Vec<u64> {
        let mut known = self.0.lock();
        let before = known.remove(table).unwrap_or_default();
        let now = claims.iter().map(|claim| {
            let for_ms = before.get(claim).map_or(0, |before| {
                let elapsed_ms = now_ms.saturating_sub(before.seen_ms);
                before.for_ms + elapsed_ms.min(COUNTED_MS_MAX)
            });
            let seen_ms = now_ms;
            (claim.clone(), Absence { for_ms, seen_ms })
        });
        let now: BTreeMap<String, Absence> = now.collect();
        let all = claims.iter().map(|claim| now[claim].for_ms).collect();
        if !now.is_empty() {
            known.insert(table.to_owned(), now);
        }
        all
    }
}

/// How long a Table lets a volume be without a node; `None`: for ever.
pub fn patience(table: &Table) -> Option<Duration> {
    let unsaid = || Storage::new(None, None);
    let text = table.spec.storage.clone().unwrap_or_else(unsaid).replace_lost_after;
    if text == "Never" {
        return None;
    }
    let (mut seconds, mut number) = (0_u64, 0_u64);
    for character in text.chars() {
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            digit => {
                let digit = u64::from(digit.to_digit(10)?);
                number = number.saturating_mul(10).saturating_add(digit);
                continue;
            }
        };
        seconds = seconds.saturating_add(number.saturating_mul(unit));
        number = 0;
    }
    Some(Duration::from_secs(seconds))
}

/// Looks for volumes that are gone, where somebody is away for want of a place.
pub async fn observe(context: &Context, observed: &Observed) -> Result<BTreeMap<NodeName, Gone>, kube::Error> {
    let (mut names, mut uids) = (Vec::new(), Vec::new());
    let replaced = patience(&observed.table).is_some() && observed.replicas() > 1 && !observed.table.spec.paused;
    let unplaced = observed.storage_pods.iter().filter(|(_, pod)| replaced && pod.unplaced);
    for (name, _) in unplaced {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &observed.namespace);
        let Some(claim) = claims.get_opt(&name.claim()).await? else {
            continue;
        };
        if has_no_node(context, &claim).await? {
            names.push(name.clone());
            uids.push(claim.uid().unwrap_or_default());
        }
    }
    let table = observed.table.uid().unwrap_or_default();
    let all_for_ms = context.absences.note(&table, &uids, (context.now_ms)());
    let gone = uids
        .into_iter()
        .zip(all_for_ms)
        .map(|(claim, for_ms)| Gone { claim, for_ms });
    Ok(names.into_iter().zip(gone).collect())
}

/// Whether a claim's volume is bound to hosts of which none is there any more.
async fn has_no_node(context: &Context, claim: &PersistentVolumeClaim) -> Result<bool, kube::Error> {
    let Some(volume) = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()) else {
        return Ok(false);
    };
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    let Some(hosts) = volumes.get_opt(volume).await?.as_ref().and_then(hosts) else {
        return Ok(false);
    };
    let nodes: Api<Node> = Api::all(context.client.clone());
    let nodes = nodes.list_metadata(&ListParams::default()).await?.items;
    let is_there = |node: &str| hosts.iter().any(|host| host == node);
    Ok(!nodes
        .iter()
        .any(|node| node.labels().get(HOST).is_some_and(|host| is_there(host))))
}

/// The hosts that a volume is bound to; `None` where it can be used on others as well.
fn hosts(volume: &PersistentVolume) -> Option<Vec<String>> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let of_term = affinity.node_selector_terms.iter().map(|term| {
        let expressions = term.match_expressions.iter().flatten();
        let mut by_host = expressions.filter(|one| one.key == HOST && one.operator == "In");
        by_host.next().and_then(|one| one.values.clone())
    });
    let hosts: Vec<String> = of_term.collect::<Option<Vec<_>>>()?.concat();
    Some(hosts).filter(|hosts| !hosts.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(replace_lost_after: &str) -> Option<u64> {
        let mut table = crate::testing::table(1, 1);
        table["spec"]["storage"] = json!({"replaceLostAfter": replace_lost_after});
        patience(&serde_json::from_value(table).unwrap()).map(|patience| patience.as_secs())
    }

    #[test]
    fn patience_is_in_hours_minutes_and_seconds() {
        assert_eq!(with("90s"), Some(90));
        assert_eq!(with("1h30m5s"), Some(5405));
        assert_eq!(with("Never"), None);
        let table = serde_json::from_value(crate::testing::table(1, 1)).unwrap();
        assert_eq!(
            patience(&table),
            Some(Duration::from_secs(600)),
            "ten minutes unless it is said"
        );
    }

    #[test]
    fn a_volume_that_may_go_elsewhere_is_bound_to_no_host() {
        let volume = |key: &str| -> PersistentVolume {
            serde_json::from_value(json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]}}}}))
            .unwrap()
        };
        assert_eq!(hosts(&volume(HOST)), Some(vec!["a".to_owned()]));
        assert_eq!(hosts(&volume("topology.kubernetes.io/zone")), None);
        assert_eq!(hosts(&PersistentVolume::default()), None);
    }
}
