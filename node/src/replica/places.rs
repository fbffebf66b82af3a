//! Where the partitions of global indexes are, as far as the directory knows.
//!
//! [`follow`] keeps the routes of all tables as the directory's listing has them, but for what stores have said of ranges that
//! were split since. A partition that is led in this very store is reached directly, whatever address the directory has for
//! it; else its leader is found among its replicas. Who refuses because the range is wrong says which ones there are.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use partita_model::capacity::{UnitsAnswer, UnitsCall};
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::request::Refusal;
use partita_model::schema::TableId;
use partita_partition::command::{Command, CommandReply, Delivered, IndexBatch};
use partita_replication::{Group, Store};
use partita_transport::{AddressBook, Answer, CallError, Client, Operation, Peer, Reason};
use tokio::sync::watch;

use super::service::{known, table_of};
use crate::directory::{Entry, Listing};
use crate::replicas::{Neighbours, Replicas, Watched, is_unknown_there};
use crate::routing::{Dated, Directory};
use crate::serving::admission::Admission;
use crate::serving::delivery::{IndexTarget, Undelivered};

/// How long a store may take to say what it has: it does so from memory.
const ASK_MAX: Duration = Duration::from_secs(1);

/// Where all partitions are, and how to get there.
struct Places {
    routes: Arc<Directory<Place>>,
    store: Arc<Store>,
    admission: Arc<Admission>,
    client: Client,
    neighbours: Arc<Neighbours>,
    own: Weak<Self>,
}

/// A partition: its replica in this store, if that leads, or wherever another one does.
#[derive(Clone)]
pub struct Place {
    /// The table that it is of, or whose index it is of.
    table: TableId,
    replicas: Arc<Replicas>,
    /// The epoch of the range as a store said it; zero for what the directory says.
    range_epoch: u64,
    store: Arc<Store>,
    admission: Arc<Admission>,
    places: Weak<Places>,
}

impl Dated for Place {
    fn group(&self) -> GroupId {
        self.replicas.group()
    }

    fn range_epoch(&self) -> u64 {
        self.range_epoch
    }

    fn at_epoch(self, range_epoch: u64) -> Self {
        Self { range_epoch, ..self }
    }
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
        let mut error = match self.replicas.ask(&leader, &ask).await {
            Watched::Ended(Ok(reply)) => return Ok(reply),
            Watched::Ended(Err(error)) => Some(error),
            Watched::Deposed { .. } => None,
        };
        // It leads, and has enough to do.
        if let Some(error) = error.take_if(|error| is_throttled(error)) {
            return Err(failed(&leader, error));
        }
        let moved = self.replicas.find(&leader).await;
        if moved {
            let leader = self.replicas.leader();
            let answer = ask(leader.clone()).await;
            if let Err(error) = &answer {
                self.learn(&leader, error).await;
            }
            return answer.map_err(|error| failed(&leader, error));
        }
        if let Some(error) = &error {
            self.learn(&leader, error).await;
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

impl Place {
    /// The partition.
    pub fn group(&self) -> GroupId {
        self.replicas.group()
    }

    /// Says something about the table's units to its leader.
    pub async fn units(&self, table: TableId, call: UnitsCall, patience: Duration) -> Result<UnitsAnswer, Undelivered> {
        // This very store is about to grant them itself.
        if self.here().is_some() {
            return Err(Refusal::NotLeader.into());
        }
        let group = self.replicas.group();
        self.led(|peer| {
            let call = call.clone();
            async move { peer.units(group, table, call, patience).await }
        })
        .await
    }

    /// What a store that refuses says of the partitions it has; one that does not have this one is asked.
    async fn learn(&self, peer: &Peer, error: &CallError) {
        let (CallError::Refused(refused), Some(places)) = (error, self.places.upgrade()) else {
            return;
        };
        if !is_unknown_there(error) {
            return places.learn(Some(peer), &refused.known);
        }
        // It is answered whatever the group.
        let asked = peer.call_within(GroupId(0), Operation::Describe(self.table), ASK_MAX);
        if let Ok(Answer::Describe(known)) = asked.await {
            places.learn(Some(peer), &known);
        }
    }

    /// What this very store says of them, where its replica refuses.
    fn learn_here<T>(&self, group: &Group, answer: Result<T, Undelivered>) -> Result<T, Undelivered> {
        if let (Err(Undelivered::Refused(Refusal::WrongRange)), Some(places)) = (&answer, self.places.upgrade()) {
            places.learn(None, &known(&self.store, table_of(&group.descriptor())));
        }
        answer
    }
}

impl Places {
    /// As the directory has it.
    fn listed(&self, entry: &Entry, group: GroupId, host: &str) -> Place {
        self.place(entry.record.id, group, host, &entry.addresses(group), 0)
    }

    fn place(&self, table: TableId, group: GroupId, first: &str, addresses: &[String], range_epoch: u64) -> Place {
        let replicas = Replicas::new(group, &self.client, &self.neighbours, first, addresses);
        Place {
            table,
            replicas: Arc::new(replicas),
            range_epoch,
            store: Arc::clone(&self.store),
            admission: Arc::clone(&self.admission),
            places: Weak::clone(&self.own),
        }
    }

    /// Takes over what a store (this one, without an address) says of partitions that it has.
    fn learn(&self, node: Option<&Peer>, known: &[PartitionDescriptor]) {
        for descriptor in known {
            let (table, index) = match &descriptor.kind {
                PartitionKind::Table(schema) => (schema.id, None),
                PartitionKind::Index { base, index, .. } => (*base, Some(index.id)),
            };
            let Some(route) = self.routes.route(table) else {
                continue;
            };
            let Some(ranges) = route.ranges(index) else { continue };
            // It was born where the keys were, and the one that says so has it.
            let before = &ranges.leader(&descriptor.start).replicas;
            let peers: Vec<String> = before.all().iter().map(|peer| peer.address().to_owned()).collect();
            let leader = before.leader();
            let first = node.unwrap_or(&leader).address();
            let place = self.place(table, descriptor.group, first, &peers, descriptor.range_epoch);
            if self.routes.learn(table, index, descriptor, &place) {
                tracing::info!(
                    group = format!("{:016x}", descriptor.group.0),
                    range_epoch = descriptor.range_epoch,
                    "a partition is not what the directory says"
                );
            }
        }
    }
}

fn is_throttled(error: &CallError) -> bool {
    matches!(error, CallError::Refused(refused) if matches!(refused.reason, Reason::Refusal(Refusal::Throttled(_))))
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
            let answer = self.admission.deliver(&group, batch).await.map_err(Undelivered::from);
            return self.learn_here(&group, answer);
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
            let answer = IndexTarget::close(&group, sources).await;
            return self.learn_here(&group, answer);
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
            let answer = IndexTarget::position(&group, source).await;
            return self.learn_here(&group, answer);
        }
        let group = self.replicas.group();
        self.led(|peer| async move { peer.position(group, source).await }).await
    }
}

/// The routes that the listings say, from now on.
pub fn follow(
    mut listings: watch::Receiver<Arc<Listing>>,
    store: &Arc<Store>,
    admission: &Arc<Admission>,
    client: &Client,
    book: &Arc<AddressBook>,
) -> Arc<Directory<Place>> {
    let places = Arc::new_cyclic(|own| Places {
        routes: Arc::new(Directory::new()),
        store: Arc::clone(store),
        admission: Arc::clone(admission),
        client: client.clone(),
        neighbours: Arc::default(),
        own: Weak::clone(own),
    });
    let routes = Arc::clone(&places.routes);
    tokio::spawn(meet(Arc::clone(book), Arc::clone(&places.neighbours)));
    tokio::spawn(async move {
        let mut known = HashMap::new();
        loop {
            let listing = Arc::clone(&listings.borrow_and_update());
            known = places.update(known, &listing);
            if listings.changed().await.is_err() {
                return;
            }
        }
    });
    routes
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

impl Places {
    /// Takes over what is different in a listing; what is listed from now on.
    fn update(&self, known: HashMap<TableId, Arc<Entry>>, listing: &Listing) -> HashMap<TableId, Arc<Entry>> {
        let listed: HashMap<TableId, Arc<Entry>> = listing
            .tables
            .iter()
            .map(|entry| (entry.record.id, Arc::clone(entry)))
            .collect();
        for (id, entry) in &listed {
            if known.get(id) == Some(entry) {
                continue;
            }
            match entry.route(&mut |group, host| self.listed(entry, group, host)) {
                Some(route) => self.routes.list(*id, route),
                None => self.routes.remove(*id),
            }
        }
        for id in known.keys().filter(|id| !listed.contains_key(id)) {
            self.routes.remove(*id);
        }
        listed
    }
}
