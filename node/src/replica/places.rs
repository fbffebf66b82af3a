//! Where the partitions of global indexes are, as far as the directory knows.
//!
//! [`follow`] keeps the routes of all tables as the directory's listing has them. A partition in this very store is
//! reached directly, whatever address the directory has for it.

use std::collections::HashMap;
use std::sync::Arc;

use partita_model::partition::GroupId;
use partita_model::request::Refusal;
use partita_model::schema::TableId;
use partita_partition::command::{Command, CommandReply, Delivered, IndexBatch};
use partita_replication::Store;
use partita_transport::{CallError, Client, Peer, Reason};
use tokio::sync::watch;

use crate::directory::{Entry, Listing};
use crate::routing::Directory;
use crate::serving::delivery::{IndexTarget, Undelivered};

/// A partition: in this store or at a peer.
#[derive(Clone)]
pub struct Place {
    group: GroupId,
    peer: Peer,
    store: Arc<Store>,
}

impl Place {
    fn failed(&self, error: CallError) -> Undelivered {
        match error {
            CallError::Refused(refused) => match refused.reason {
                // The peer's store stops, not ours.
                Reason::Refusal(refusal) if refusal != Refusal::Stopping => Undelivered::Refused(refusal),
                reason => self.unreachable(&reason),
            },
            error => self.unreachable(&error),
        }
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> Undelivered {
        Undelivered::Unreachable {
            address: self.peer.address().to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl IndexTarget for Place {
    fn id(&self) -> GroupId {
        self.group
    }

    async fn deliver(&self, batch: IndexBatch) -> Result<CommandReply, Undelivered> {
        if let Some(group) = self.store.group(self.group) {
            return IndexTarget::deliver(&group, batch).await;
        }
        let delivered = self.peer.command(self.group, Command::Deliver(batch)).await;
        delivered.map_err(|error| self.failed(error))
    }

    async fn close(&self, sources: Vec<(GroupId, u64)>) -> Result<(), Undelivered> {
        if let Some(group) = self.store.group(self.group) {
            return IndexTarget::close(&group, sources).await;
        }
        let closed = self.peer.command(self.group, Command::Close(sources)).await;
        closed.map(drop).map_err(|error| self.failed(error))
    }

    async fn position(&self, source: GroupId) -> Result<Option<Delivered>, Undelivered> {
        if let Some(group) = self.store.group(self.group) {
            return IndexTarget::position(&group, source).await;
        }
        let position = self.peer.position(self.group, source).await;
        position.map_err(|error| self.failed(error))
    }
}

/// The routes that the listings say, from now on.
pub fn follow(
    mut listings: watch::Receiver<Arc<Listing>>,
    store: &Arc<Store>,
    client: &Client,
) -> Arc<Directory<Place>> {
    let places = Arc::new(Directory::new());
    let (following, store, client) = (Arc::clone(&places), Arc::clone(store), client.clone());
    tokio::spawn(async move {
        let mut known = HashMap::new();
        loop {
            let listing = Arc::clone(&listings.borrow_and_update());
            known = update(&following, known, &listing, |group, host| Place {
                group,
                peer: client.peer(host),
                store: Arc::clone(&store),
            });
            if listings.changed().await.is_err() {
                return;
            }
        }
    });
    places
}

/// Sets what is different in a listing; what is known from now on.
fn update(
    places: &Directory<Place>,
    known: HashMap<TableId, Arc<Entry>>,
    listing: &Listing,
    mut place: impl FnMut(GroupId, &str) -> Place,
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
        match entry.route(&mut place) {
            Some(route) => places.set(*id, route),
            None => places.remove(*id),
        }
    }
    for id in known.keys().filter(|id| !listed.contains_key(id)) {
        places.remove(*id);
    }
    listed
}
