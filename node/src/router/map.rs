//! The tables that can be read and written, and the ways to their partitions.
//!
//! 1. [`follow`](Map::follow) takes over each listing of the directory: tables come, change and go.
//! 2. A node that is asked by mistake says what it knows: [`learn`](Map::learn) corrects the map, also against a directory
//!    that does not know of a split yet ([`crate::routing`]).
//! 3. [`ask_around`](Map::ask_around) asks all nodes of a table, when the one that should know a partition does not.
//! 4. [`refresh`](Map::refresh) keeps up with nodes that come back at other addresses.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use parking_lot::{Mutex, RwLock};
use partita_gateway::metrics::Metrics;
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::schema::{IndexId, SchemaVersion, TableId, TableSchema};
use partita_transport::{Answer, Client, Operation, Peer};
use rand::seq::IteratorRandom as _;
use tokio::sync::watch;
use tokio::time::sleep;

use super::remote::Remote;
use crate::directory::{Entry, Listing};
use crate::replicas::{Neighbours, Replicas};
use crate::routing::Directory;

/// How long a node may take to say what it knows: it does so from memory.
const ASK_MAX: Duration = Duration::from_secs(1);

/// Each node that leads something is asked this often where the others of its groups are. One question a node: what is learned
/// of one group is of use to all of them.
const REFRESH_EVERY: Duration = Duration::from_secs(2);

/// Schemas by table name.
type Names = HashMap<String, Arc<TableSchema>>;

/// The map.
pub struct Map {
    /// By account. Looked up for every request.
    served: RwLock<HashMap<String, Names>>,
    /// The ways to partitions.
    pub routes: Directory<Remote>,
    client: Client,
    metrics: Arc<Metrics>,
    /// What the directory has said, by table. Its lock is held while the map changes.
    entries: Mutex<HashMap<TableId, Arc<Entry>>>,
    /// The replicas of each group: what was found out about them outlives what the directory says.
    groups: Mutex<HashMap<GroupId, Weak<Replicas>>>,
    /// Every node that is known.
    neighbours: Arc<Neighbours>,
    /// For those that are in the map, and change it.
    own: Weak<Self>,
}

impl Map {
    /// An empty one.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            served: RwLock::default(),
            routes: Directory::new(),
            client,
            metrics,
            entries: Mutex::default(),
            groups: Mutex::default(),
            neighbours: Arc::default(),
            own: Weak::clone(own),
        })
    }

    /// The schema of a table that can be read and written now.
    pub fn schema(&self, account: &str, name: &str) -> Option<Arc<TableSchema>> {
        self.served.read().get(account)?.get(name).cloned()
    }

    /// The version of a table's schema that requests are validated with.
    pub fn version(&self, table: TableId) -> Option<SchemaVersion> {
        let entry = self.entries.lock().get(&table).cloned()?;
        let schema = self.schema(&entry.account, &entry.record.spec.name)?;
        (schema.id == table).then_some(schema.version)
    }

    /// Takes over every listing from now on.
    pub async fn follow(self: Arc<Self>, mut listings: watch::Receiver<Arc<Listing>>) {
        loop {
            let listing = listings.borrow_and_update().clone();
            self.take(&listing);
            if listings.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes the map what a listing says.
    pub fn take(&self, listing: &Listing) {
        let mut entries = self.entries.lock();
        let before = std::mem::take(&mut *entries);
        for entry in listing.tables.iter().filter(|entry| entry.served()) {
            self.enter(before.get(&entry.record.id), entry);
            entries.insert(entry.record.id, Arc::clone(entry));
        }
        for (id, entry) in &before {
            if !entries.contains_key(id) {
                self.routes.remove(*id);
                self.withdraw(entry);
                self.metrics.forget_table(*id);
            }
        }
    }

    fn enter(&self, before: Option<&Arc<Entry>>, entry: &Arc<Entry>) {
        if before.is_some_and(|before| Arc::ptr_eq(before, entry)) {
            return;
        }
        // The schema first: who waits for a new table is woken by its route.
        self.serve(&entry.account, entry.record.schema());
        // What nodes have said of ranges stays: the directory may be behind.
        if before.is_none_or(|before| !same_places(before, entry)) {
            let table = entry.record.id;
            let moved = |group| before.is_some_and(|before| before.host(group) != entry.host(group));
            let route = entry.route(&mut |group, host| {
                let replicas = self.replicas(group, &entry.addresses(group), host);
                if moved(group) {
                    replicas.prefer(host);
                }
                self.remote(table, replicas, 0)
            });
            if let Some(route) = route {
                self.routes.list(table, route);
            }
        }
    }

    fn remote(&self, table: TableId, replicas: Arc<Replicas>, range_epoch: u64) -> Remote {
        Remote {
            table,
            replicas,
            range_epoch,
            map: Weak::clone(&self.own),
        }
    }

    /// What is known of a group's replicas, with these addresses; `first` is asked first when nothing is known yet.
    fn replicas(&self, group: GroupId, addresses: &[String], first: &str) -> Arc<Replicas> {
        let mut groups = self.groups.lock();
        if let Some(known) = groups.get(&group).and_then(Weak::upgrade) {
            addresses.iter().for_each(|address| known.add(address));
            return known;
        }
        groups.retain(|_, known| known.strong_count() > 0);
        let known = Arc::new(Replicas::new(group, &self.client, &self.neighbours, first, addresses));
        groups.insert(group, Arc::downgrade(&known));
        known
    }

    /// Lets a table be read and written with this schema, unless a newer one is known.
    fn serve(&self, account: &str, schema: TableSchema) {
        let mut served = self.served.write();
        let names = served.entry(account.to_owned()).or_default();
        let known = names.get(&schema.name);
        if known.is_none_or(|known| known.id != schema.id || known.version < schema.version) {
            names.insert(schema.name.clone(), Arc::new(schema));
        }
    }

    /// Ends reading and writing of a table, unless the name is another table's by now.
    fn withdraw(&self, entry: &Entry) {
        let mut served = self.served.write();
        let Some(names) = served.get_mut(&entry.account) else {
            return;
        };
        let name = &entry.record.spec.name;
        if names.get(name).is_some_and(|schema| schema.id == entry.record.id) {
            names.remove(name);
        }
    }

    /// Takes over what a node knows of a table's partitions: those that it has, and the table's schema.
    pub fn learn(&self, table: TableId, node: &Peer, known: &[PartitionDescriptor]) {
        let entries = self.entries.lock();
        let Some(entry) = entries.get(&table) else { return };
        for descriptor in known {
            match &descriptor.kind {
                PartitionKind::Table(schema) if schema.id == table => {
                    self.serve(&entry.account, TableSchema::clone(schema));
                    self.place(table, None, node, descriptor);
                }
                PartitionKind::Index { base, index, .. } if *base == table => {
                    self.place(table, Some(index.id), node, descriptor);
                }
                PartitionKind::Table(_) | PartitionKind::Index { .. } => {}
            }
        }
    }

    /// Notes that a node has a partition.
    fn place(&self, table: TableId, index: Option<IndexId>, node: &Peer, descriptor: &PartitionDescriptor) {
        let Some(route) = self.routes.route(table) else { return };
        let Some(ranges) = route.ranges(index) else { return };
        let here = [node.address().to_owned()];
        let replicas = self.replicas(descriptor.group, &here, node.address());
        let before = ranges.leader(&descriptor.start);
        if before.range_epoch < descriptor.range_epoch {
            // A part of what was another group's was born where that is.
            for peer in before.replicas.all() {
                replicas.add(peer.address());
            }
        }
        let remote = self.remote(table, replicas, descriptor.range_epoch);
        if self.routes.learn(table, index, descriptor, &remote) {
            tracing::info!(
                table = format_args!("{:016x}", table.0),
                group = format_args!("{:016x}", descriptor.group.0),
                range_epoch = descriptor.range_epoch,
                node = node.address(),
                "a node corrects the route"
            );
        }
    }

    /// Asks every node that has partitions of the table, by the directory or by what nodes have said, what it knows.
    pub async fn ask_around(&self, table: TableId) {
        let entry = self.entries.lock().get(&table).cloned();
        let (Some(entry), Some(route)) = (entry, self.routes.route(table)) else {
            return;
        };
        let mut nodes: BTreeSet<String> = entry
            .hosts
            .values()
            .chain(entry.replicas.values().flatten())
            .cloned()
            .collect();
        let known = route.leaders().flat_map(|remote| remote.replicas.all());
        nodes.extend(known.map(|peer| peer.address().to_owned()));
        let indexes = entry.record.global.iter().map(|index| index.table);
        let asked: Vec<TableId> = std::iter::once(table).chain(indexes).collect();
        let questions = nodes.into_iter().flat_map(|node| {
            let peer = self.client.peer(&node);
            asked.iter().map(move |asked| self.ask(table, peer.clone(), *asked))
        });
        join_all(questions).await;
    }

    /// Asks about one group of each leader, a different one each time, for as long as the process lives.
    pub async fn refresh(self: Arc<Self>) {
        loop {
            sleep(REFRESH_EVERY).await;
            let mut led: HashMap<String, Vec<Arc<Replicas>>> = HashMap::new();
            let groups: Vec<_> = self.groups.lock().values().filter_map(Weak::upgrade).collect();
            for group in groups {
                led.entry(group.leader().address().to_owned()).or_default().push(group);
            }
            let chosen = led
                .into_values()
                .filter_map(|groups| groups.into_iter().choose(&mut rand::rng()));
            let chosen: Vec<_> = chosen.collect();
            join_all(chosen.iter().map(|group| group.refresh())).await;
        }
    }

    /// Asks a node for what it knows of a table or one of its indexes.
    async fn ask(&self, table: TableId, node: Peer, asked: TableId) {
        // It is answered whatever the group.
        let answer = node.call_within(GroupId(0), Operation::Describe(asked), ASK_MAX).await;
        if let Ok(Answer::Describe(known)) = answer {
            self.learn(table, &node, &known);
        }
    }
}

/// Whether the directory says the same of where a table's partitions are.
fn same_places(one: &Entry, other: &Entry) -> bool {
    let indexes = |entry: &Entry| -> Vec<_> {
        let indexes = entry.record.global.iter();
        indexes
            .map(|index| (index.id, index.phase, index.partitions.clone()))
            .collect()
    };
    (&one.hosts, &one.replicas) == (&other.hosts, &other.replicas)
        && one.record.partitions == other.record.partitions
        && indexes(one) == indexes(other)
}

#[cfg(test)]
mod tests {
    use partita_model::key::KeyBytes;
    use partita_transport::{ClientOptions, Identity, Role};

    use super::*;
    use crate::directory::samples::entry;

    fn map() -> Arc<Map> {
        let client = Client::new(ClientOptions::new(Identity::new(Role::Router, "test")));
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        Map::new(client, Arc::new(metrics))
    }

    fn listing(entries: &[Entry]) -> Listing {
        Listing::of(entries.iter().cloned().map(Arc::new).collect())
    }

    fn hosts(map: &Map, table: TableId) -> Vec<String> {
        let route = map.routes.route(table).unwrap();
        let show = |remote: &Remote| {
            let (group, leader) = (remote.replicas.group(), remote.replicas.leader());
            format!("{:04x}@{}", group.0 >> 48, leader.address())
        };
        route.table.leaders().map(show).collect()
    }

    #[tokio::test]
    async fn tables_come_and_go_with_the_listings() {
        let map = map();
        let orders = entry("orders", 4000, "a:1");
        map.take(&listing(std::slice::from_ref(&orders)));
        assert_eq!(map.schema(&orders.account, "orders").unwrap().id, orders.record.id);
        assert_eq!(hosts(&map, orders.record.id).len(), 4);
        assert!(map.schema("000000000000", "orders").is_none());
        map.take(&listing(&[]));
        assert!(map.schema(&orders.account, "orders").is_none());
        assert!(map.routes.route(orders.record.id).is_none());
    }

    #[tokio::test]
    async fn a_newer_schema_of_a_node_stays_when_the_directory_is_behind() {
        let map = map();
        let orders = entry("orders", 1, "a:1");
        map.take(&listing(std::slice::from_ref(&orders)));
        let mut newer = orders.clone();
        newer.record.schema_version.0 += 1;
        map.learn(
            orders.record.id,
            &map.client.peer("a:1"),
            &newer.record.table_descriptors(),
        );
        let version = |map: &Map| map.schema(&orders.account, "orders").unwrap().version;
        assert_eq!(version(&map), newer.record.schema_version);
        map.take(&listing(std::slice::from_ref(&orders)));
        assert_eq!(version(&map), newer.record.schema_version);
    }

    #[tokio::test]
    async fn a_node_that_has_a_partition_is_one_more_to_ask_until_the_directory_says_otherwise() {
        let map = map();
        let orders = entry("orders", 4000, "a:1");
        let id = orders.record.id;
        map.take(&listing(std::slice::from_ref(&orders)));
        let partitions = orders.record.table_descriptors();
        let asked = |partition: usize| {
            let route = map.routes.route(id).unwrap();
            let replicas = &route.table.leader(&partitions[partition].start).replicas;
            let peers = replicas.all();
            peers.iter().map(|peer| peer.address().to_owned()).collect::<Vec<_>>()
        };
        map.learn(id, &map.client.peer("b:1"), std::slice::from_ref(&partitions[1]));
        assert_eq!(asked(1), ["a:1", "b:1"]);
        assert_eq!(asked(0), ["a:1"]);

        // A change that is not about places leaves the correction alone.
        let mut updated = orders.clone();
        updated.record.dates.created_ms += 1;
        map.take(&listing(std::slice::from_ref(&updated)));
        assert_eq!(asked(1), ["a:1", "b:1"]);
        let moved = entry("orders", 4000, "c:1");
        map.take(&listing(std::slice::from_ref(&moved)));
        assert!(hosts(&map, id).iter().all(|host| host.ends_with("c:1")));
    }

    #[tokio::test]
    async fn a_child_is_where_its_parent_is_and_outlives_an_older_listing() {
        let map = map();
        let orders = entry("orders", 1, "a:1");
        let id = orders.record.id;
        map.take(&listing(std::slice::from_ref(&orders)));
        let whole = orders.record.table_descriptors().remove(0);
        map.learn(id, &map.client.peer("b:1"), std::slice::from_ref(&whole));
        let cut = KeyBytes(vec![0x80]);
        let halves = [
            PartitionDescriptor {
                end: Some(cut.clone()),
                range_epoch: 2,
                ..whole.clone()
            },
            PartitionDescriptor {
                group: GroupId(5),
                start: cut.clone(),
                range_epoch: 2,
                ..whole
            },
        ];
        map.learn(id, &map.client.peer("b:1"), &halves);
        let child = || map.routes.route(id).unwrap().table.leader(&cut).clone();
        let at = |remote: &Remote| {
            let mut peers: Vec<_> = remote
                .replicas
                .all()
                .iter()
                .map(|peer| peer.address().to_owned())
                .collect();
            peers.sort();
            (remote.replicas.group(), peers)
        };
        assert_eq!(at(&child()), (GroupId(5), vec!["a:1".to_owned(), "b:1".to_owned()]));
        // Another listing that does not know of the split.
        let moved = entry("orders", 1, "c:1");
        map.take(&listing(std::slice::from_ref(&moved)));
        assert_eq!(child().replicas.group(), GroupId(5));
        assert_eq!(hosts(&map, id).len(), 2);
        assert!(hosts(&map, id)[0].ends_with("c:1"));
        // A table that is gone takes along what was learned of it.
        map.take(&listing(&[]));
        map.take(&listing(std::slice::from_ref(&orders)));
        assert_eq!(hosts(&map, id).len(), 1);
    }

    #[tokio::test]
    async fn an_earlier_range_of_a_group_is_no_correction() {
        let map = map();
        let orders = entry("orders", 1, "a:1");
        let id = orders.record.id;
        map.take(&listing(std::slice::from_ref(&orders)));
        let whole = orders.record.table_descriptors().remove(0);
        let half = PartitionDescriptor {
            end: Some(KeyBytes(vec![0x80])),
            range_epoch: 2,
            ..whole.clone()
        };
        map.learn(id, &map.client.peer("a:1"), std::slice::from_ref(&half));
        let halved = hosts(&map, id);
        assert_eq!(halved.len(), 2);
        map.learn(id, &map.client.peer("b:1"), std::slice::from_ref(&whole));
        assert_eq!(hosts(&map, id), halved);
    }
}
