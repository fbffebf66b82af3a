//! A directory from the API server.
//!
//! 1. Two watches, of Tables and of Partitions, keep [`Resources`] as the API server has them; what this process writes
//!    itself is put there at once.
//! 2. Whenever something has changed, [`entries`](entries::entries) makes a listing of it.
//! 3. While the API server is away, what is known stays.

mod entries;
mod resources;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, watcher::Event};
use kube::{Api, Client, Resource};
use partita_crds::{Partition, Table};
use serde::de::DeserializeOwned;

use super::{Directory, Listing, Source};
#[cfg(test)]
pub use entries::tests as samples;
pub use entries::{deleting, rank, recorded};
pub use resources::Resources;

/// A watch that has nothing to tell ends after so long, and goes on where it was: before its silence is taken for a dead connection's.
const WATCH_S: u32 = 30;
/// Changes that come together make one listing: a new table is a handful of resources.
const GATHER: Duration = Duration::from_millis(20);
/// How often an API server that was away is asked whether it is back: a watch without news does not say.
const PROBE: Duration = Duration::from_secs(5);

/// The API server.
pub struct Kubernetes {
    client: Client,
    resources: Arc<Resources>,
}

impl Kubernetes {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            resources: Arc::new(Resources::new()),
        }
    }

    /// What the API server has, for those who change it.
    pub fn resources(&self) -> Arc<Resources> {
        Arc::clone(&self.resources)
    }
}

impl Source for Kubernetes {
    async fn follow(self, directory: Arc<Directory>) {
        let tables = watch::<Table>(&self.client, &directory, |event| self.resources.table_event(event));
        let partitions = watch::<Partition>(&self.client, &directory, |event| self.resources.partition_event(event));
        let listings = list(&self.resources, &directory);
        let probes = probe(&self.client, &directory);
        tokio::join!(tables, partitions, listings, probes);
    }
}

/// Follows all objects of a kind.
async fn watch<K>(client: &Client, directory: &Directory, take: impl Fn(Event<K>))
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let events = watcher(Api::<K>::all(client.clone()), watched()).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                directory.source_answers();
                take(event);
            }
            Err(error) => {
                directory.source_is_away();
                failed(K::plural(&()).as_ref(), &error);
            }
        }
    }
}

/// What a watch is begun with.
pub fn watched() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_S)
}

/// Says why a watch does not go on; it is tried again.
pub fn failed(resources: &str, error: &watcher::Error) {
    match forbidden(error) {
        Some(message) => tracing::error!(
            resources,
            message,
            "not allowed: the service account needs get, list and watch on them"
        ),
        None => tracing::warn!(resources, %error, "the watch failed; it is begun anew"),
    }
}

fn forbidden(error: &watcher::Error) -> Option<&str> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    let status = match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => status,
        _ => return None,
    };
    (status.code == 403).then_some(&status.message)
}

/// Makes a listing of every state of the resources.
async fn list(resources: &Resources, directory: &Directory) {
    let mut changes = resources.changes();
    loop {
        if resources.synced() {
            let (tables, partitions) = resources.all();
            directory.set(Listing::of(entries::entries(
                &tables,
                &partitions,
                &directory.current(),
            )));
        }
        // The sender is `resources`' own.
        let _ = changes.changed().await;
        tokio::time::sleep(GATHER).await;
        changes.mark_unchanged();
    }
}

/// Asks an API server that was away whether it is back.
async fn probe(client: &Client, directory: &Directory) {
    loop {
        tokio::time::sleep(PROBE).await;
        if !directory.source_away().is_zero() && client.apiserver_version().await.is_ok() {
            directory.source_answers();
        }
    }
}
