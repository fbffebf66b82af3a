//! The reconcile of a Table: a visible list of steps, repeated until there is nothing left to do.
//!
//! 1. [`observe`] (asks the caches of the API server's watches; the storage nodes, when something is under way or due);
//! 2. [`validate`] (pure): the table that the specification asks for, or what is wrong with it;
//! 3. [`plan`] (pure): from what there is to what is to be done next, as a list of actions;
//! 4. [`apply`] (writes): carries the actions out;
//! 5. [`status`] (pure, then one write if anything changed): conditions, counts and the operator's record of the table.
//!
//! The record (`status.state`) is written before anything is done about it, and a step is noted in it after it was done: an
//! operator that is killed anywhere goes on from what it observes. Every write of a status names the version that it follows,
//! so that a decision on old knowledge is refused by the API server instead of being carried out.

pub mod apply;
pub mod children;
pub mod observe;
pub mod plan;
pub mod status;
pub mod validate;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::controller::Action as Next;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use partita_crds::{Partition, Table};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;

use crate::certificates::{self, Certificates};
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::settings::Settings;

/// How often the nodes of a settled table are asked what they hold, in milliseconds: measured columns are written at most
/// that often.
const MEASURE_EVERY_MS: u64 = 5 * 60 * 1000;
/// After a failure that is not a node's: the API server is busy or away.
const RETRY: Duration = Duration::from_secs(5);
/// After a write that was refused because something changed meanwhile: the change arrives by itself any moment.
const STALE: Duration = Duration::from_millis(300);

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

/// Brings a Table one pass further.
pub async fn reconcile(table: Arc<Table>, context: Arc<Context>) -> Result<Next, Error> {
    let started = Instant::now();
    context.metrics.reconciles.inc();
    let next = pass(table, &context).await;
    context.metrics.took(started.elapsed());
    next
}

async fn pass(table: Arc<Table>, context: &Context) -> Result<Next, Error> {
    let now_ms = (context.now_ms)();
    let uid = table.uid().unwrap_or_default();
    let due = measure_due(context, &uid, now_ms);

    let observed = observe::observe(context, table, due).await?;
    let valid = validate::validate(&observed.table);
    let plan = plan::plan(&observed, &valid, &context.settings, now_ms);
    if let Some(certificates) = &context.certificates
        && !observed.deleting()
    {
        // A storage node does not start without one.
        certificates.ensure(&observed.namespace).await?;
    }
    let outcome = apply::apply(context, &observed, &plan.actions).await?;
    if plan.quiet {
        if plan.actions.contains(&plan::Action::RemoveFinalizer) {
            context.measured.lock().remove(&uid);
            forget(context, &observed.name, &observed.namespace);
        }
        return Ok(Next::await_change());
    }
    let status = status::status(&observed, &plan, &outcome, now_ms);
    apply::write_status(context, &observed, &status).await?;
    for (kind, holds) in status::holding(&status) {
        context
            .metrics
            .condition(&observed.namespace, &observed.name, kind, holds);
    }
    if due && observed.all_answered() {
        context.measured.lock().insert(uid, now_ms);
    }
    Ok(Next::requeue(plan.look_again(&outcome)))
}

fn measure_due(context: &Context, uid: &str, now_ms: u64) -> bool {
    let measured = context.measured.lock();
    measured
        .get(uid)
        .is_none_or(|last| now_ms.saturating_sub(*last) >= MEASURE_EVERY_MS)
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
