//! From key bytes to the leader of the partition that holds them.
//!
//! 1. [`Directory`] knows each table's partitions, and those of its global indexes, in key order;
//! 2. [`Leader`] is a way to one partition's leader: the group itself in the same process, a connection in a router;
//! 3. [`page`] carries a page across partitions;
//! 4. [`learned`] takes over what nodes say of ranges that have changed since the directory's source knew them.
//!
//! Nothing here does I/O by itself or knows how the directory is filled.

mod learned;
mod page;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use parking_lot::RwLock;
use partita_model::key::KeyBytes;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, Target, WriteReply, WriteRequest};
use partita_model::schema::{IndexId, TableId};
use tokio::sync::watch;

pub use learned::Dated;

/// A way to the leader of one partition.
pub trait Leader: Clone + Send + Sync + 'static {
    /// One item.
    fn get(&self, request: GetRequest) -> impl Future<Output = Result<GetReply, Refusal>> + Send;
    /// One write.
    fn write(&self, request: WriteRequest) -> impl Future<Output = Result<WriteReply, Refusal>> + Send;
    /// One page within the partition, or a further part of one behind what was `read` (in bytes) of it in other partitions.
    fn page(&self, request: PageRequest, read: Option<u64>) -> impl Future<Output = Result<PageReply, Refusal>> + Send;
}

impl Leader for Arc<partita_replication::Group> {
    async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        partita_replication::Group::get(self, request).await
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        partita_replication::Group::write(self, request).await
    }

    async fn page(&self, request: PageRequest, _: Option<u64>) -> Result<PageReply, Refusal> {
        partita_replication::Group::page(self, request).await
    }
}

/// The partitions of one key space, in key order and without gaps: the first begins at the empty key, each ends where
/// the next begins, the last has no end.
#[derive(Debug, Clone)]
pub struct Ranges<L> {
    partitions: Vec<(KeyBytes, L)>,
}

impl<L> Ranges<L> {
    /// From the first key of each partition; `None` unless the first is the empty key and they ascend.
    pub fn new(partitions: Vec<(KeyBytes, L)>) -> Option<Self> {
        let first_is_empty = partitions.first().is_some_and(|(start, _)| start.0.is_empty());
        let ascending = partitions.windows(2).all(|pair| pair[0].0 < pair[1].0);
        (first_is_empty && ascending).then_some(Self { partitions })
    }

    /// The partition that holds a key.
    pub fn leader(&self, key: &KeyBytes) -> &L {
        &self.partitions[self.position(key)].1
    }

    /// All leaders, in key order.
    pub fn leaders(&self) -> impl DoubleEndedIterator<Item = &L> {
        self.partitions.iter().map(|(_, leader)| leader)
    }

    /// The place of the partition that holds a key. The first partition begins at the empty key, so there is one.
    fn position(&self, key: &KeyBytes) -> usize {
        self.partitions
            .partition_point(|(start, _)| start <= key)
            .saturating_sub(1)
    }

    /// First key and end of the partition in that place.
    fn bounds(&self, place: usize) -> (&KeyBytes, Option<&KeyBytes>) {
        (
            &self.partitions[place].0,
            self.partitions.get(place + 1).map(|(start, _)| start),
        )
    }
}

/// Where a table's items and its global indexes' rows are.
#[derive(Debug, Clone)]
pub struct TableRoute<L> {
    /// Items (and local indexes' rows).
    pub table: Ranges<L>,
    /// Global indexes' rows.
    pub indexes: Vec<(IndexId, Ranges<L>)>,
}

impl<L> TableRoute<L> {
    /// All leaders.
    pub fn leaders(&self) -> impl Iterator<Item = &L> {
        let indexes = self.indexes.iter().flat_map(|(_, ranges)| ranges.leaders());
        self.table.leaders().chain(indexes)
    }

    /// The partitions that hold a target's rows.
    fn target(&self, target: Target) -> Option<&Ranges<L>> {
        match target {
            Target::Table | Target::Local(_) => Some(&self.table),
            Target::Global(index) => self.index(index),
        }
    }

    /// The partitions of a global index.
    pub fn index(&self, index: IndexId) -> Option<&Ranges<L>> {
        self.indexes
            .iter()
            .find(|(id, _)| *id == index)
            .map(|(_, ranges)| ranges)
    }
}

/// Every table's partitions.
pub struct Directory<L> {
    tables: RwLock<HashMap<TableId, Arc<TableRoute<L>>>>,
    /// Counts changes, for those who follow them.
    changes: watch::Sender<u64>,
}

impl<L> Directory<L> {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            tables: RwLock::new(HashMap::new()),
            changes: watch::Sender::new(0),
        }
    }

    /// Sets where a table is, whatever was known before.
    pub fn set(&self, table: TableId, route: TableRoute<L>) {
        self.tables.write().insert(table, Arc::new(route));
        self.note_change();
    }

    /// Forgets a table.
    pub fn remove(&self, table: TableId) {
        self.tables.write().remove(&table);
        self.note_change();
    }

    fn note_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Where a table is.
    pub fn route(&self, table: TableId) -> Option<Arc<TableRoute<L>>> {
        self.tables.read().get(&table).cloned()
    }

    /// Wakes whenever something in here changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl<L: Leader> Directory<L> {
    /// One item. A table that is gone answers `StaleSchema`, so that the gateway looks it up again.
    pub async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        let route = self.route(request.table).ok_or(Refusal::StaleSchema)?;
        route.table.leader(&request.key).get(request).await
    }

    /// One write.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteReply, Refusal> {
        let route = self.route(request.table).ok_or(Refusal::StaleSchema)?;
        route.table.leader(&request.key).write(request).await
    }

    /// One page, across partitions.
    pub async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        let route = self.route(request.table).ok_or(Refusal::StaleSchema)?;
        let ranges = route.target(request.target).ok_or(Refusal::StaleSchema)?;
        page::across(ranges, request).await
    }
}
