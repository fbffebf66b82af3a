//! What the active operator does all day: it watches Tables and everything that belongs to them, and reconciles a Table
//! whenever something of it has changed.
//!
//! Every cache is fed by the very stream that triggers reconciles: whoever is woken by a change sees it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::utils::Backoff;
use kube::runtime::{Controller, WatchStreamExt, controller, reflector as reflected, watcher};
use kube::{Api, Client, ResourceExt};
use partita_crds::names::{OPERATOR, TABLE_NAME};
use partita_crds::{Partition, Table, names};

use crate::server;
use crate::table::{self, Context, Known};

/// Tables that are reconciled at once: each may be waiting for its nodes.
const TABLES_AT_ONCE: u16 = 32;
/// Changes come in bursts (a StatefulSet, its pod, its claim): one reconcile sees them all.
const BURST: Duration = Duration::from_millis(100);

/// The first and the longest wait between attempts of a watch.
const WATCH_FIRST: Duration = Duration::from_millis(200);
const WATCH_LONGEST: Duration = Duration::from_secs(5);
/// What the controller waits after an error of any watch, during which it listens to none of them: nearly nothing, for each
/// watch waits by itself. (By default it would be up to 30 s for each of the errors that all of them report after the API
/// server was away: minutes in which nothing is noticed.)
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// Waits that double.
struct Waits {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Waits {
    fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    fn of_a_watch() -> Self {
        Self::new(WATCH_FIRST, WATCH_LONGEST)
    }
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        Some(now)
    }
}

impl Backoff for Waits {
    fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Runs until `stop`, and then until what was begun is finished. `context` is given the caches.
pub async fn run(
    client: Client,
    context: impl FnOnce(Known) -> Context,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let ours = server::watched().labels(&format!("app.kubernetes.io/managed-by={OPERATOR}"));
    let (tables, table_writer) = reflector::store::<Table>();
    let (partitions, partition_writer) = reflector::store::<Partition>();
    let (stateful_sets, set_writer) = reflector::store::<StatefulSet>();
    let (services, service_writer) = reflector::store::<Service>();
    let (disruption_budgets, budget_writer) = reflector::store::<PodDisruptionBudget>();
    let table_changes = reflected(
        table_writer,
        watcher(Api::<Table>::all(client.clone()), server::watched()).backoff(Waits::of_a_watch()),
    );
    let partition_changes = reflected(
        partition_writer,
        watcher(Api::all(client.clone()), server::watched()).backoff(Waits::of_a_watch()),
    );
    let set_changes = reflected(
        set_writer,
        watcher(Api::all(client.clone()), ours.clone()).backoff(Waits::of_a_watch()),
    );
    let service_changes = reflected(
        service_writer,
        watcher(Api::all(client.clone()), ours.clone()).backoff(Waits::of_a_watch()),
    );
    let budget_changes = reflected(
        budget_writer,
        watcher(Api::all(client.clone()), ours).backoff(Waits::of_a_watch()),
    );
    let claim_changes = watcher(
        Api::<PartialObjectMeta<PersistentVolumeClaim>>::all(client.clone()),
        server::watched().labels(names::TABLE_ID),
    )
    .backoff(Waits::of_a_watch());

    let controller = Controller::for_stream(table_changes.applied_objects(), tables.clone())
        .trigger_backoff(Waits::new(AFTER_ERROR, AFTER_ERROR))
        .with_config(
            controller::Config::default()
                .concurrency(TABLES_AT_ONCE)
                .debounce(BURST),
        )
        .owns_stream(partition_changes.touched_objects())
        .owns_stream(set_changes.touched_objects())
        .owns_stream(service_changes.touched_objects())
        .owns_stream(budget_changes.touched_objects());
    let concerned = tables.clone();
    let context = Arc::new(context(Known {
        tables: tables.clone(),
        partitions: partitions.clone(),
        stateful_sets: stateful_sets.clone(),
        services: services.clone(),
        disruption_budgets: disruption_budgets.clone(),
    }));
    let reconcile = move |table: Arc<Table>, context: Arc<Context>| {
        let known = context.known.clone();
        async move {
            synced(&known).await;
            table::reconcile(table, context).await
        }
    };
    controller
        .watches_stream(claim_changes.touched_objects(), move |claim| {
            of_claim(&concerned, &claim)
        })
        .graceful_shutdown_on(stop)
        .run(reconcile, table::on_error, Arc::clone(&context))
        .for_each(|result| {
            if let Err(controller::Error::ObjectNotFound(gone)) = &result {
                table::forget(
                    &context,
                    gone.name.as_str(),
                    gone.namespace.as_deref().unwrap_or_default(),
                );
            } else if let Err(error) = result {
                tracing::debug!(%error, "a reconcile or a watch failed");
            }
            std::future::ready(())
        })
        .await;
}

/// Until every cache has been filled once: what is not in it would seem not to be there.
async fn synced(known: &Known) {
    async fn filled<K: kube::runtime::reflector::Lookup + Clone + 'static>(store: &Store<K>)
    where
        K::DynamicType: Eq + std::hash::Hash + Clone,
    {
        // It fails when the watch has ended: then the process is about to.
        let _ = store.wait_until_ready().await;
    }
    filled(&known.tables).await;
    filled(&known.partitions).await;
    filled(&known.stateful_sets).await;
    filled(&known.services).await;
    filled(&known.disruption_budgets).await;
}

/// Tables that a claim matters to: those of the table name that it holds data of.
fn of_claim(tables: &Store<Table>, claim: &PartialObjectMeta<PersistentVolumeClaim>) -> Vec<ObjectRef<Table>> {
    let namespace = claim.namespace();
    let Some(table_name) = claim.annotations().get(TABLE_NAME) else {
        return Vec::new();
    };
    let concerned = tables.state_filter(|table| table.namespace() == namespace && table.spec.table_name == *table_name);
    concerned
        .iter()
        .map(|table| ObjectRef::from_obj(table.as_ref()))
        .collect()
}
