//! Where the partitions of global indexes are, as far as the directory knows.
//!
//! [`follow`] keeps the routes of all tables as the directory's listing has them. A partition that is led in this very store
//! is reached directly, whatever address the directory has for it; else its leader is found among its replicas.

use std::collections::HashMap;
use std::sync::Arc;

use partita_model::partition::GroupId;
use partita_model::request::Refusal;
use partita_model::schema::TableId;
use partita_partition::command::{Command, CommandReply, Delivered, IndexBatch};
use partita_replication::{Group, Store};
use partita_transport::{AddressBook, CallError, Client, Peer, Reason};
use tokio::sync::watch;

use crate::directory::{Entry, Listing};
use crate::replicas::{Neighbours, Replicas, Watched, is_unknown_there};
use crate::routing::Directory;
use crate::serving::delivery::{IndexTarget, Undelivered};

/// A partition: its replica in this store, if that leads, or wherever another one does.
#[derive(Clone)]
pub struct Place {
    replicas: Arc<Replicas>,
    store: Arc<Store>,
}

impl Place {
    /// The replica in this store, if it leads.
    fn here(&self) -> Option<Arc<Group>> {
        let group = self.store.group(self.replicas.group())?;
        let serves = group.leadership().borrow().serving > 0;
        serves.then_some(group)
    }

    /// Asks the leader, and whoever has become it meanwhile: a delivery that is repeated changes nothing.
    async fn led<T, F>(&self, ask: impl Fn(Peer) -> F) -> Result<T, Undelivered>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let leader = self.replicas.leader();
        let error = match self.replicas.ask(&leader, &ask).await {
            Watched::Ended(Ok(reply)) => return Ok(reply),
            Watched::Ended(Err(error)) => Some(error),
            Watched::Deposed { .. } => None,
        };
        let moved = self.replicas.find(&leader).await;
        if moved {
            let leader = self.replicas.leader();
            return ask(leader.clone()).await.map_err(|error| failed(&leader, error));
        }
        if error.as_ref().is_some_and(is_unknown_there) {
            self.replicas.pass_on(&leader);
        }
        Err(match error {
            Some(error) => failed(&leader, error),
            None => Refusal::NotLeader.into(),
        })
    }
}

fn failed(peer: &Peer, error: CallError) -> Undelivered {
    match error {
        CallError::Refused(refused) => match refused.reason {
            // The peer's store stops, not ours.
            Reason::Refusal(refusal) if refusal != Refusal::Stopping => Undelivered::Refused(refusal),
            reason => unreachable(peer, &reason),
        },
        error => unreachable(peer, &error),
    }
}

fn unreachable(peer: &Peer, reason: &dyn std::fmt::Display) -> Undelivered {
    Undelivered::Unreachable {
        address: peer.address().to_owned(),
        reason: reason.to_string(),
    }
}

impl IndexTarget for Place {
    fn id(&self) -> GroupId {
        self.replicas.group()
    }

    async fn deliver(&self, batch: IndexBatch) -> Result<CommandReply, Undelivered> {
        if let Some(group) = self.here() {
            return IndexTarget::deliver(&group, batch).await;
        }
        let group = self.replicas.group();
        self.led(|peer| {
            let batch = batch.clone();
            async move { peer.command(group, Command::Deliver(batch)).await }
        })
        .await
    }

    async fn close(&self, sources: Vec<(GroupId, u64)>) -> Result<(), Undelivered> {
        if let Some(group) = self.here() {
            return IndexTarget::close(&group, sources).await;
        }
        let group = self.replicas.group();
        self.led(|peer| {
            let sources = sources.clone();
            async move { peer.command(group, Command::Close(sources)).await.map(drop) }
        })
        .await
    }

    async fn position(&self, source: GroupId) -> Result<Option<Delivered>, Undelivered> {
        if let Some(group) = self.here() {
            return IndexTarget::position(&group, source).await;
        }
        let group = self.replicas.group();
        self.led(|peer| async move { peer.position(group, source).await }).await
    }
}

/// The routes that the listings say, from now on.
pub fn follow(
    mut listings: watch::Receiver<Arc<Listing>>,
    store: &Arc<Store>,
    client: &Client,
    book: &Arc<AddressBook>,
) -> Arc<Directory<Place>> {
    let places = Arc::new(Directory::new());
    let neighbours = Arc::default();
    tokio::spawn(meet(Arc::clone(book), Arc::clone(&neighbours)));
    let (following, store, client) = (Arc::clone(&places), Arc::clone(store), client.clone());
    tokio::spawn(async move {
        let mut known = HashMap::new();
        loop {
            let listing = Arc::clone(&listings.borrow_and_update());
            known = update(&following, known, &listing, |entry, group, host| Place {
                replicas: Arc::new(Replicas::new(
                    group,
                    &client,
                    &neighbours,
                    host,
                    &entry.addresses(group),
                )),
                store: Arc::clone(&store),
            });
            if listings.changed().await.is_err() {
                return;
            }
        }
    });
    places
}

/// Stores that share groups with this one, wherever they are by now, may know where a place is.
async fn meet(book: Arc<AddressBook>, neighbours: Arc<Neighbours>) {
    let mut changes = book.changes();
    loop {
        changes.mark_unchanged();
        let known = book.all().into_iter().filter(|one| !one.address.is_empty());
        known.for_each(|one| neighbours.add(&one.address));
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Sets what is different in a listing; what is known from now on.
fn update(
    places: &Directory<Place>,
    known: HashMap<TableId, Arc<Entry>>,
    listing: &Listing,
    place: impl Fn(&Entry, GroupId, &str) -> Place,
) -> HashMap<TableId, Arc<Entry>> {
    let listed: HashMap<TableId, Arc<Entry>> = listing
        .tables
        .iter()
        .map(|entry| (entry.record.id, Arc::clone(entry)))
        .collect();
    for (id, entry) in &listed {
        if known.get(id) == Some(entry) {
            continue;
        }
        match entry.route(&mut |group, host| place(entry, group, host)) {
            Some(route) => places.set(*id, route),
            None => places.remove(*id),
        }
    }
    for id in known.keys().filter(|id| !listed.contains_key(id)) {
        places.remove(*id);
    }
    listed
}
