//! The reconcile of a Table: a visible list of steps, repeated until there is nothing left to do.
//!
//! 1. [`observe`] (asks the caches of the API server's watches; the storage nodes, when something is under way or due);
//! 2. [`validate`] (pure): the table that the specification asks for, or what is wrong with it;
//! 3. [`scale`] (pure): units that follow the use, where the specification has ranges instead of units;
//! 4. [`plan`] (pure): from what there is to what is to be done next, as a list of actions;
//! 5. [`apply`] (writes): carries the actions out;
//! 6. [`status`] (pure, then one write if anything changed): conditions, counts and the operator's record of the table.
//!
//! The record (`status.state`) is written before anything is done about it, and a step is noted in it after it was done: an
//! operator that is killed anywhere goes on from what it observes. Every write of a status names the version that it follows,
//! so that a decision on old knowledge is refused by the API server instead of being carried out.

pub mod apply;
pub mod capacity;
pub mod children;
pub mod claims;
pub mod heat;
pub mod lost;
pub mod merge;
pub mod observe;
pub mod patience;
pub mod plan;
pub mod pods;
pub mod replicas;
pub mod scale;
pub mod status;
pub mod validate;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::controller::Action as Next;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use partita_crds::{Partition, PartitionPhase, Table, names};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::certificates::{self, Certificates};
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::rolling::{Host, Turns};
use crate::settings::Settings;
use children::growth;
use lost::Absences;
use observe::Asked;
use patience::Patience;
use plan::repartition::Growth;
use scale::Uses;

/// After a failure that is not a node's: the API server is busy or away.
const RETRY: Duration = Duration::from_secs(5);
/// After a write that was refused because something changed meanwhile: the change arrives by itself any moment.
const STALE: Duration = Duration::from_millis(300);

/// Reasons of `Stalled` with which nothing is done to a Table that serves.
const LEFT_ALONE: [&str; 2] = ["NameTaken", "StateUnreadable"];

/// What every reconcile needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The storage nodes.
    pub nodes: Arc<dyn Nodes>,
    /// The certificates, where there is mutual TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// What the API server's watches told so far.
    pub known: Known,
    /// How storage nodes are run.
    pub settings: Settings,
    /// The operator's own metrics.
    pub metrics: Metrics,
    /// Publishes events.
    pub recorder: Recorder,
    /// The wall clock in epoch milliseconds.
    pub now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    /// When each Table (by uid) was last measured.
    pub measured: Mutex<HashMap<String, u64>>,
    /// Tables (by uid) that are looked at again before what was seen is believed, and since when, in epoch milliseconds.
    pub doubts: Mutex<HashMap<String, u64>>,
    /// What was used of each Table (by uid) whose units follow the use.
    pub uses: Mutex<HashMap<String, Uses>>,
    /// What is remembered of the partitions of each Table (by uid).
    pub growths: Mutex<HashMap<String, Growth>>,
    /// Since when each Table (by uid) has been waiting for the same.
    pub patience: Arc<Patience>,
    /// Whose turn it is to restart.
    pub turns: Arc<Turns>,
    /// Since when volumes have been without a node.
    pub absences: Arc<Absences>,
}

/// Caches of the API server's watches.
#[derive(Clone)]
pub struct Known {
    /// Tables.
    pub tables: Store<Table>,
    /// Partitions.
    pub partitions: Store<Partition>,
    /// StatefulSets that we made.
    pub stateful_sets: Store<StatefulSet>,
    /// Services that we made.
    pub services: Store<Service>,
    /// PodDisruptionBudgets that we made.
    pub disruption_budgets: Store<PodDisruptionBudget>,
}

impl Known {
    /// StatefulSets in the middle of a restart: they are made from this image, had served before, and do not yet, or not all of
    /// their pods are made from it.
    fn restarting(&self, image: &str) -> Vec<Host> {
        let sets = self.stateful_sets.state_filter(|set| {
            let template = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
            let container = template.and_then(|pod| pod.containers.first());
            let current = container.and_then(|container| container.image.as_deref()) == Some(image);
            current && (observe::is_up_to_date(set) && !observe::is_serving(set) || observe::is_half_way(set))
        });
        let hosts = sets
            .iter()
            .map(|set| (set.namespace().unwrap_or_default(), set.name_any()));
        let hosts = hosts.filter(|host| self.had_served(host));
        hosts.filter(|host| !self.is_left_half_way(host)).collect()
    }

    /// Whether a StatefulSet serves and nobody will restart the rest of its pods: its Table is paused, or cannot be reconciled. One that does
    /// not serve may be what a new version does.
    fn is_left_half_way(&self, host: &Host) -> bool {
        let held = |table: &Table| {
            let stalled = status::stalled_by(table).is_some_and(|(reason, _)| LEFT_ALONE.contains(&reason));
            table.spec.paused || stalled
        };
        let set = self.stateful_sets.get(&ObjectRef::new(&host.1).within(&host.0));
        set.is_some_and(|set| observe::is_serving(&set) && self.table_of(&set).is_none_or(|table| held(&table)))
    }

    /// The Table that a StatefulSet is of.
    fn table_of(&self, set: &StatefulSet) -> Option<Arc<Table>> {
        let name = set.labels().get(names::TABLE)?;
        self.tables
            .get(&ObjectRef::new(name).within(&set.namespace().unwrap_or_default()))
    }

    /// A StatefulSet that others wait for, in words.
    fn waited_for(&self, host: &Host) -> String {
        let set = self.stateful_sets.get(&ObjectRef::new(&host.1).within(&host.0));
        let table = set.and_then(|set| self.table_of(&set));
        let stalled = table.as_deref().and_then(|table| {
            let (reason, _) = status::stalled_by(table)?;
            Some(format!(" (its Table {} is Stalled: {reason})", table.name_any()))
        });
        format!("{}/{} to be ready again{}", host.0, host.1, stalled.unwrap_or_default())
    }

    fn had_served(&self, (namespace, host): &Host) -> bool {
        let partition = self.partitions.get(&ObjectRef::new(host).within(namespace));
        let phase = partition.and_then(|partition| Some(partition.status.as_ref()?.phase));
        matches!(
            phase,
            Some(PartitionPhase::Ready | PartitionPhase::Unavailable | PartitionPhase::QuorumLost)
        )
    }

    /// Whether all pods of a StatefulSet are through with their restart, or there is none any more.
    fn has_restarted(&self, (namespace, host): &Host) -> bool {
        let set = self.stateful_sets.get(&ObjectRef::new(host).within(namespace));
        set.is_none_or(|set| observe::is_up_to_date(&set) && observe::is_serving(&set))
    }
}

/// Why a reconcile is repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something changed meanwhile.
    #[error("decided on old knowledge: {0}")]
    Stale(String),
    /// The API server refused or did not answer.
    #[error(transparent)]
    Kube(kube::Error),
    /// Storage nodes would have no certificate.
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 409 => Self::Stale(status.message.clone()),
            error => Self::Kube(error),
        }
    }
}

impl Error {
    /// What the API server forbids.
    fn forbidden(&self) -> Option<&str> {
        match self {
            Self::Kube(kube::Error::Api(status))
            | Self::Certificates(certificates::Error::Kube(kube::Error::Api(status))) => {
                (status.code == 403).then_some(status.message.as_str())
            }
            Self::Stale(_) | Self::Kube(_) | Self::Certificates(_) => None,
        }
    }
}

/// Brings a Table one pass further.
pub async fn reconcile(table: Arc<Table>, context: Arc<Context>) -> Result<Next, Error> {
    let started = Instant::now();
    context.metrics.reconciles.inc();
    let next = pass(Arc::clone(&table), &context).await;
    context.metrics.took(started.elapsed());
    if let Err(error) = &next
        && let Some(refusal) = error.forbidden()
        && let Err(error) = apply::write_forbidden(&context, &table, refusal).await
    {
        tracing::debug!(%error, "a Table cannot be told of what is forbidden");
    }
    next
}

async fn pass(table: Arc<Table>, context: &Context) -> Result<Next, Error> {
    let now_ms = (context.now_ms)();
    let uid = table.uid().unwrap_or_default();
    let due = measure_due(context, &uid, now_ms);

    context
        .turns
        .end(|host| context.known.has_restarted(host) || context.known.is_left_half_way(host));
    let sample = scale::follows(&table) && sample_due(context, &uid, now_ms);
    let mut known = context.growths.lock().get(&uid).cloned().unwrap_or_default();
    let asked = Asked {
        measure: due,
        sample,
        repartition: known.due(now_ms),
        in_doubt_for_ms: context
            .doubts
            .lock()
            .get(&uid)
            .map(|since| now_ms.saturating_sub(*since)),
    };
    let mut observed = observe::observe(context, table, asked).await?;
    observed.volumes = known.remember_volumes(&observed).clone();
    let mut valid = validate::validate(&observed.table, observed.record());
    if let (Ok(valid), Some(record)) = (&mut valid, observed.record())
        && scale::follows(&observed.table)
    {
        let mut uses = context.uses.lock();
        let uses = uses.entry(uid.clone()).or_default();
        if sample && observed.most_answered() {
            uses.note(&observed, record, now_ms);
        }
        valid.scaled = scale::scale(valid, &observed.table, record, uses, now_ms);
    }
    let mut plan = plan::plan(&observed, &valid, &context.settings, &known, now_ms);
    if let Some(certificates) = &context.certificates
        && !observed.deleting()
    {
        // A storage node does not start without one.
        certificates.ensure(&observed.namespace).await?;
    }
    let mut outcome = apply::apply(context, &observed, &plan.actions).await?;
    let seen = plan.growth.is_some() && !plan.partial && growth::can_tell(&observed);
    outcome.cannot_grow = {
        let mut remembered = known.clone();
        let growth = plan.growth.as_mut().unwrap_or(&mut remembered);
        growth.note_volumes(outcome.growth_refused.as_ref(), seen)
    };
    if let Some(growth) = &mut plan.growth {
        for (group, why) in &outcome.left_alone {
            growth.refused(*group, now_ms);
            let partition = observed.partition_of(*group);
            plan.decisions.push(("Refused", format!("{partition} is {why}")));
        }
        for (group, why) in &outcome.put_off {
            // Told once: the words of the next time differ only in an amount.
            if growth.put_off(*group, now_ms) {
                let partition = observed.partition_of(*group);
                plan.decisions
                    .push(("NotYet", format!("{partition} is not split yet: {why}")));
            }
        }
    }
    if plan.quiet {
        if plan.actions.contains(&plan::Action::RemoveFinalizer) {
            context.measured.lock().remove(&uid);
            context.uses.lock().remove(&uid);
            context.growths.lock().remove(&uid);
            context.patience.forget(&uid);
            context.doubts.lock().remove(&uid);
            forget(context, &observed.name, &observed.namespace);
        }
        return Ok(Next::await_change());
    }
    let status = status::status(
        &observed,
        &plan,
        &outcome,
        &context.patience,
        &context.settings.planning.limits,
        now_ms,
    );
    apply::write_status(context, &observed, &status).await?;
    // Only now: what is said once is decided once more if it could not be written.
    if let Some(growth) = &plan.growth {
        context.growths.lock().insert(uid.clone(), growth.clone());
    }
    context
        .metrics
        .away(&observed.namespace, &observed.name, plan.partitions_away());
    for (kind, holds) in status::holding(&status) {
        context
            .metrics
            .condition(&observed.namespace, &observed.name, kind, holds);
    }
    if plan.is_doubtful() {
        context.doubts.lock().entry(uid).or_insert(now_ms);
        return Ok(Next::requeue(plan.look_again(&outcome, &context.settings, now_ms)));
    }
    context.doubts.lock().remove(&uid);
    if due && observed.most_answered() {
        context.measured.lock().insert(uid, now_ms);
    }
    Ok(Next::requeue(plan.look_again(&outcome, &context.settings, now_ms)))
}

/// Whether the nodes are to be asked what they have served.
fn sample_due(context: &Context, uid: &str, now_ms: u64) -> bool {
    context.uses.lock().get(uid).is_none_or(|uses| uses.due(now_ms))
}

fn measure_due(context: &Context, uid: &str, now_ms: u64) -> bool {
    let measured = context.measured.lock();
    measured
        .get(uid)
        .is_none_or(|last| u128::from(now_ms.saturating_sub(*last)) >= context.settings.measure_every.as_millis())
}

/// When a failed reconcile is repeated.
pub fn on_error(table: Arc<Table>, error: &Error, context: Arc<Context>) -> Next {
    let (name, namespace) = (table.name_any(), table.namespace().unwrap_or_default());
    match error {
        Error::Stale(reason) => {
            tracing::debug!(namespace, table = name, reason, "looking again");
            Next::requeue(STALE)
        }
        error @ (Error::Kube(_) | Error::Certificates(_)) => {
            context.metrics.errors.inc();
            tracing::warn!(namespace, table = name, %error, "will be tried again");
            Next::requeue(RETRY)
        }
    }
}

/// A Table is gone.
pub fn forget(context: &Context, name: &str, namespace: &str) {
    context.metrics.forget(namespace, name, &status::CONDITIONS);
}
