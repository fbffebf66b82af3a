//! Carries a plan's actions out, in their order, and writes the status.
//!
//! What is applied is applied by server-side apply under our field manager. A status names the version that it follows. A call
//! that a node refuses or does not answer does not hold up the others: it is made again in the next pass.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use partita_crds::names::{FINALIZER, OPERATOR};
use partita_crds::{Partition, Table, TableStatus};
use partita_model::partition::GroupId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::merge::{self, Ended};
use super::observe::Observed;
use super::plan::{Action, MergeOrder, Mirror};
use super::status::{self, News};
use super::{Context, Error};
use crate::nodes::{Answer, Call, NodeError, NodeName};

/// The longest note of an event, in bytes of UTF-8: that is what the API server counts.
const EVENT_BYTES_MAX: usize = 1024;

/// What became of a plan's actions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A node is still at it.
    pub busy: Option<String>,
    /// How far such nodes are, all together.
    pub rows: u64,
    /// A node refused or did not answer.
    pub refused_by_node: Option<String>,
    /// The API server does not take what we made of the specification.
    pub refused_by_api: Option<String>,
    /// The cluster does not let a volume grow.
    pub growth_refused: Option<String>,
    /// It did not when that was last asked for, and one still should.
    pub cannot_grow: Option<String>,
    /// Whose restart comes before the one of this table's nodes, in words.
    pub turn: Option<String>,
    /// Groups that a node refused to split or merge, and why.
    pub left_alone: Vec<(GroupId, String)>,
    /// Groups that cannot be split yet, and why.
    pub put_off: Vec<(GroupId, String)>,
}

impl Outcome {
    /// Whether everything was done.
    pub fn complete(&self) -> bool {
        self.busy.is_none() && self.refused_by_node.is_none() && self.refused_by_api.is_none()
    }
}

/// Carries actions out.
pub async fn apply(context: &Context, observed: &Observed, actions: &[Action]) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for action in actions {
        let done = match action {
            Action::Tell(node, call) => {
                tell(context, observed, &mut outcome, node, call).await;
                continue;
            }
            Action::Merge(order) => {
                merge(context, observed, &mut outcome, order).await;
                continue;
            }
            Action::GrowClaim(name, size) => match grow(context, observed, name, size).await {
                // Everything else goes on.
                Err(kube::Error::Api(refusal)) if matches!(refusal.code, 400 | 403 | 422) => {
                    outcome.growth_refused = Some(refusal.message.clone());
                    continue;
                }
                grown => grown,
            },
            Action::RestartPod { node, uid, serves } => match turn(context, observed, &node.host, *serves) {
                Ok(()) => restart(context, observed, node, uid).await,
                Err(other) => {
                    outcome.turn = Some(other);
                    continue;
                }
            },
            Action::AddFinalizer => finalizer(context, observed, true).await,
            Action::RemoveFinalizer => finalizer(context, observed, false).await,
            Action::ApplyService(service) => patch(context, observed, service.as_ref()).await,
            Action::ApplyDisruptionBudget(budget) => patch(context, observed, budget.as_ref()).await,
            Action::ApplyStatefulSet(set) => patch(context, observed, set.as_ref()).await,
            Action::ApplyPartition(partition) => patch(context, observed, partition.as_ref()).await,
            Action::AdoptPartition(partition, mirror) => adopt(context, observed, partition, mirror).await,
            Action::MirrorPartition(mirror) => mirror_partition(context, observed, mirror).await,
            Action::DeletePartition(name) => delete::<Partition>(context, observed, name).await,
            Action::DeleteStatefulSet(name, uid) => delete_this::<StatefulSet>(context, observed, name, uid).await,
            Action::DeleteService(name) => delete::<Service>(context, observed, name).await,
            Action::DeleteDisruptionBudget(name) => delete::<PodDisruptionBudget>(context, observed, name).await,
            Action::ReplaceStatefulSet(name, uid) => replace(context, observed, name, uid).await,
            Action::GiveUpClaim(node, uid) => give_up(context, observed, node, uid).await,
            Action::DeleteClaim(name, uid) => delete_this::<PersistentVolumeClaim>(context, observed, name, uid).await,
        };
        match done {
            Ok(()) => {}
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 400 | 403 | 422) => {
                outcome.refused_by_api = Some(refusal.message.clone());
                return Ok(outcome);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(outcome)
}

async fn tell(context: &Context, observed: &Observed, outcome: &mut Outcome, node: &NodeName, call: &Call) {
    if let Call::Change(group, change) = call {
        tracing::info!(table = observed.name, group = format!("{:016x}", group.0), step = ?change.step, "changing members");
    }
    match context.nodes.call(&node.dns(&observed.namespace), call).await {
        Ok(Answer::Done | Answer::Frozen(_) | Answer::Decided(_)) => {}
        Ok(Answer::Job(job)) if job.done => {}
        Ok(Answer::Job(job)) => {
            let why = job.waiting.map(|why| format!(": {why}")).unwrap_or_default();
            outcome.busy = Some(format!("{node} is at it{why}"));
            outcome.rows = outcome.rows.wrapping_add(job.rows);
        }
        Err(NodeError::Busy(host, why)) if matches!(call, Call::Split(..)) => {
            tracing::info!(table = observed.name, host, why, "a split has to wait");
            if let Call::Split(group, _) = call {
                outcome.put_off.push((*group, why));
            }
        }
        Err(error @ (NodeError::NotYet(..) | NodeError::Busy(..))) => {
            tracing::debug!(table = observed.name, %error, "will be told again");
            outcome.busy = Some(error.to_string());
        }
        Err(NodeError::Refused(host, why)) if matches!(call, Call::Split(..)) => {
            tracing::warn!(table = observed.name, host, why, "a split was refused");
            if let Call::Split(group, _) = call {
                outcome.left_alone.push((*group, format!("not split: {why}")));
            }
        }
        Err(error) => {
            tracing::warn!(table = observed.name, %error, "will be told again");
            outcome.refused_by_node = Some(error.to_string());
        }
    }
}

async fn merge(context: &Context, observed: &Observed, outcome: &mut Outcome, order: &MergeOrder) {
    let (absorber, source) = (format!("{:016x}", order.absorber.0), format!("{:016x}", order.source.0));
    tracing::info!(
        table = observed.name,
        absorber,
        source,
        id = order.id,
        "merging two groups"
    );
    match merge::merge(context, observed, order).await {
        Ended::Merged => {}
        Ended::GivenUp(why) => {
            tracing::warn!(table = observed.name, absorber, source, why, "not merged");
            outcome.left_alone.push((order.source, format!("not merged: {why}")));
        }
        Ended::Unknown(why) => {
            tracing::warn!(table = observed.name, absorber, source, why, "will go on with a merge");
            outcome.busy = Some(why);
        }
    }
}

fn api<K>(context: &Context, observed: &Observed) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(context.client.clone(), &observed.namespace)
}

/// Our fields are ours: what somebody else set there is overwritten.
fn ours() -> PatchParams {
    PatchParams::apply(OPERATOR).force()
}

async fn adopt(
    context: &Context,
    observed: &Observed,
    partition: &Partition,
    mirror: &Mirror,
) -> Result<(), kube::Error> {
    let made = patched(context, observed, partition).await?;
    let mirror = Mirror {
        version: made.resource_version(),
        ..mirror.clone()
    };
    mirror_partition(context, observed, &mirror).await
}

async fn patch<K>(context: &Context, observed: &Observed, desired: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    patched(context, observed, desired).await.map(drop)
}

async fn patched<K>(context: &Context, observed: &Observed, desired: &K) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = desired.name_any();
    tracing::info!(table = observed.name, kind = %K::kind(&()), name, "applying");
    let api = api::<K>(context, observed);
    api.patch(&name, &ours(), &Patch::Apply(desired)).await
}

async fn delete<K>(context: &Context, observed: &Observed, name: &str) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    tracing::info!(table = observed.name, kind = %K::kind(&()), name, "deleting");
    match api::<K>(context, observed)
        .delete(name, &DeleteParams::background())
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted.map(drop),
    }
}

/// Removes what was seen, and nothing that has its name by now: what is decided here cannot be undone.
async fn delete_this<K>(context: &Context, observed: &Observed, name: &str, uid: &str) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    tracing::info!(table = observed.name, kind = %K::kind(&()), name, uid, "deleting");
    let params = DeleteParams::background().preconditions(exactly(uid));
    gone(api::<K>(context, observed).delete(name, &params).await.map(drop))
}

async fn grow(context: &Context, observed: &Observed, name: &str, size: &Quantity) -> Result<(), kube::Error> {
    tracing::info!(table = observed.name, claim = name, size = size.0, "growing");
    let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let params = PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    };
    let api = api::<PersistentVolumeClaim>(context, observed);
    api.patch(name, &params, &Patch::Merge(&patch)).await.map(drop)
}

/// Removes a StatefulSet and leaves its pod where it is.
async fn replace(context: &Context, observed: &Observed, name: &str, uid: &str) -> Result<(), kube::Error> {
    tracing::info!(table = observed.name, name, "removing a StatefulSet without its pod");
    let params = DeleteParams::orphan().preconditions(exactly(uid));
    let deleted = api::<StatefulSet>(context, observed).delete(name, &params).await;
    gone(deleted.map(drop))
}

/// Removes the claim of a storage node: its StatefulSet makes another one with the next pod.
async fn give_up(context: &Context, observed: &Observed, node: &NodeName, uid: &str) -> Result<(), kube::Error> {
    tracing::warn!(table = observed.name, %node, "giving up its volume: the node that it was on is gone");
    let params = DeleteParams::default().preconditions(exactly(uid));
    let api = api::<PersistentVolumeClaim>(context, observed);
    gone(api.delete(&node.claim(), &params).await.map(drop))
}

/// Removes a pod: its StatefulSet makes another one.
async fn restart(context: &Context, observed: &Observed, node: &NodeName, uid: &str) -> Result<(), kube::Error> {
    tracing::info!(table = observed.name, %node, "restarting");
    let params = DeleteParams::default().preconditions(exactly(uid));
    let deleted = api::<Pod>(context, observed).delete(&node.to_string(), &params).await;
    gone(deleted.map(drop))
}

fn exactly(uid: &str) -> Preconditions {
    Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    }
}

/// What is gone, or is another one by now, need not be removed.
fn gone(deleted: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        deleted => deleted,
    }
}

/// Whether a node may be restarted now; else the one that has its turn.
fn turn(context: &Context, observed: &Observed, host: &str, serves: bool) -> Result<(), String> {
    if !serves {
        return Ok(());
    }
    let own = (observed.namespace.clone(), host.to_owned());
    let turn = context
        .turns
        .take(own, context.known.restarting(&context.settings.image));
    turn.map_err(|host| context.known.waited_for(&host))
}

async fn finalizer(context: &Context, observed: &Observed, there: bool) -> Result<(), kube::Error> {
    let mut finalizers = observed.table.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    if there {
        finalizers.push(FINALIZER.to_owned());
    }
    let version = &observed.table.metadata.resource_version;
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let params = PatchParams {
        field_manager: Some(OPERATOR.to_owned()),
        ..PatchParams::default()
    };
    let api = api::<Table>(context, observed);
    match api.patch(&observed.name, &params, &Patch::Merge(&patch)).await {
        // Gone already: nothing is left to let go.
        Err(kube::Error::Api(status)) if status.code == 404 && !there => Ok(()),
        patched => patched.map(drop),
    }
}

async fn mirror_partition(context: &Context, observed: &Observed, mirror: &Mirror) -> Result<(), kube::Error> {
    let status = status_patch::<Partition>(&mirror.name, mirror.version.as_deref(), &mirror.status);
    let api = api::<Partition>(context, observed);
    api.patch_status(&mirror.name, &ours(), &Patch::Apply(&status))
        .await
        .map(drop)
}

fn status_patch<K: Resource<DynamicType = ()>>(name: &str, version: Option<&str>, status: &impl Serialize) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "resourceVersion": version},
        "status": status,
    })
}

/// Writes the status, if it has changed, and tells people what is new.
pub async fn write_status(context: &Context, observed: &Observed, wanted: &status::Judged) -> Result<(), Error> {
    let before = observed.table.status.clone().unwrap_or_default();
    if same(&before, &wanted.status) {
        return Ok(());
    }
    let version = observed.table.metadata.resource_version.as_deref();
    let patch = status_patch::<Table>(&observed.name, version, &wanted.status);
    let api = api::<Table>(context, observed);
    api.patch_status(&observed.name, &ours(), &Patch::Apply(&patch)).await?;
    for news in &wanted.news {
        publish(context, observed, news).await;
    }
    Ok(())
}

/// Says of a Table what the operator may not do for it. Whoever may not even write this has nothing but its log.
pub async fn write_forbidden(context: &Context, table: &Table, refusal: &str) -> Result<(), Error> {
    let Some(status) = status::forbidden(table, refusal, (context.now_ms)()) else {
        return Ok(());
    };
    let name = table.name_any();
    let patch = status_patch::<Table>(&name, table.metadata.resource_version.as_deref(), &status);
    let api: Api<Table> = Api::namespaced(context.client.clone(), &table.namespace().unwrap_or_default());
    api.patch_status(&name, &ours(), &Patch::Apply(&patch)).await?;
    Ok(())
}

/// Records are compared as such: JSON that went through the API server may have lost a null.
fn same(before: &TableStatus, after: &TableStatus) -> bool {
    let record = |status: &TableStatus| status.state.clone().map(status::parsed);
    let rest = |status: &TableStatus| TableStatus {
        state: None,
        ..status.clone()
    };
    record(before) == record(after) && rest(before) == rest(after)
}

/// An event is worth a try, not a failure.
async fn publish(context: &Context, observed: &Observed, news: &News) {
    let note = shortened(&news.note);
    tracing::info!(
        namespace = observed.namespace,
        table = observed.name,
        reason = news.reason,
        note,
        "event"
    );
    let event = Event {
        type_: if news.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: news.reason.clone(),
        note: Some(note),
        action: action(&news.note),
        secondary: None,
    };
    let about = observed.table.object_ref(&());
    if let Err(error) = context.recorder.publish(&event, &about).await {
        tracing::warn!(%error, "an event could not be published");
    }
}

/// What is unlike in this counts as another event: one that is like one of the last minutes becomes a series of that, and keeps the
/// first one's words. So unlike words have unlike actions.
fn action(note: &str) -> String {
    let digest = Sha256::digest(note.as_bytes());
    format!("Reconcile-{}", hex::encode(&digest[..4]))
}

/// As much of a note as an event may have.
fn shortened(note: &str) -> String {
    let end = (0..=EVENT_BYTES_MAX.min(note.len()))
        .rev()
        .find(|end| note.is_char_boundary(*end));
    note[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_shortened_by_bytes_and_between_characters() {
        assert_eq!(shortened("1 → 2"), "1 → 2");
        let long = format!("{}→→", "a".repeat(EVENT_BYTES_MAX - 4));
        assert_eq!(shortened(&long), format!("{}→", "a".repeat(EVENT_BYTES_MAX - 4)));
        assert_eq!(shortened(&"→".repeat(1000)).len(), EVENT_BYTES_MAX - 1);
    }
}
