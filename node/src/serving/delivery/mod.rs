//! Delivery of changes to global indexes: one [`worker`] for each partition of this store whose table has some (or keeps
//! a stream).
//!
//! 1. [`Deliveries::start`] follows the store: a partition whose schema calls for a worker gets one, and keeps it until
//!    the schema does not, or the group is gone.
//! 2. A worker finds the index's partitions in the directory, and reaches each through its [`IndexTarget`].
//! 3. A partition of an index takes as many units in a second as one can do: the worker waits for it. Where it does not catch up,
//!    the table's writes are held back ([`Deliveries::too_far`]).
//! 4. [`Deliveries::delivered`] waits for it: a backfill's pieces are delivered one by one. [`Deliveries::follow_now`] does
//!    for a moment: in a single process a read of an index finds what was written before it (ADR 24).

mod worker;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use partita_model::request::Refusal;
use partita_model::schema::IndexId;
use partita_partition::command::{Command, CommandReply, Delivered, IndexBatch, Session};
use partita_partition::descriptor::{GroupId, ItemTime};
use partita_replication::{Clock, Group, Store};
use tokio::sync::watch;

use super::admission::Admission;
use crate::routing::Directory;
use worker::Worker;

/// How long a read of an index waits for the delivery of what was written before it: the two syncs that it takes, also on
/// a slow disk, and not the time that a backlog takes.
const FOLLOW_MAX: Duration = Duration::from_millis(50);

/// A way to one partition of a global index: the group itself, or a connection to its store.
pub trait IndexTarget: Clone + Send + Sync + 'static {
    /// The group.
    fn id(&self) -> GroupId;
    /// Delivers a batch; durable and visible on return.
    fn deliver(&self, batch: IndexBatch) -> impl Future<Output = Result<CommandReply, Undelivered>> + Send;
    /// Takes nothing any more that these sources sent before this range epoch of theirs.
    fn close(&self, sources: Vec<(GroupId, u64)>) -> impl Future<Output = Result<(), Undelivered>> + Send;
    /// How far this source has been delivered there.
    fn position(&self, source: GroupId) -> impl Future<Output = Result<Option<Delivered>, Undelivered>> + Send;
}

impl IndexTarget for Arc<Group> {
    fn id(&self) -> GroupId {
        Group::id(self)
    }

    async fn deliver(&self, batch: IndexBatch) -> Result<CommandReply, Undelivered> {
        Ok(self.command(Command::Deliver(batch)).await?)
    }

    async fn close(&self, sources: Vec<(GroupId, u64)>) -> Result<(), Undelivered> {
        self.command(Command::Close(sources)).await?;
        Ok(())
    }

    async fn position(&self, source: GroupId) -> Result<Option<Delivered>, Undelivered> {
        Ok(Group::position(self, source).await?)
    }
}

/// Why a delivery has to wait.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Undelivered {
    /// One of the partitions refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The index's partition could not be reached, or did not answer.
    #[error("{address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// The directory does not (yet) say where the index is.
    #[error("the directory does not know the partitions of global index {}", .0.0)]
    NotInDirectory(IndexId),
    /// Somebody else delivers from this source now.
    #[error("a later leader of the source delivers")]
    Deposed,
}

/// How far a worker is.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Everything up to here has been delivered.
    delivered: ItemTime,
    /// Why it waits, if it does.
    waits: Option<Undelivered>,
    /// What it has not delivered, while it is at work.
    lag: Option<Lag>,
    /// The index one of whose partitions takes no more for the moment.
    held_by: Option<String>,
}

/// What a worker has not delivered.
#[derive(Debug, Clone, Copy)]
struct Lag {
    /// Since when there has always been something, in epoch milliseconds. What is read again after a restart is old, and soon over.
    since_ms: u64,
    /// When the oldest of it was written.
    oldest_ms: u64,
}

/// Indexes are so far behind a partition of their table that it should be written to no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooFar {
    /// The index that they all wait for, if it is one.
    pub index: Option<String>,
}

/// The workers of a store.
pub struct Deliveries<T> {
    store: Arc<Store>,
    directory: Arc<Directory<T>>,
    now_ms: Clock,
    /// How long a table's writes go on while its indexes do not catch up.
    lag_max: Duration,
    running: Mutex<HashMap<GroupId, watch::Receiver<Progress>>>,
}

impl<T: IndexTarget> Deliveries<T> {
    /// Delivers from every partition of the store that needs it, until the process stops.
    pub fn start(store: Arc<Store>, directory: Arc<Directory<T>>, now_ms: Clock, lag_max: Duration) -> Arc<Self> {
        let deliveries = Arc::new(Self {
            store,
            directory,
            now_ms,
            lag_max,
            running: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&deliveries).follow());
        deliveries
    }

    async fn follow(self: Arc<Self>) {
        let mut changes = self.store.changes();
        loop {
            changes.mark_unchanged();
            for group in self.store.groups() {
                self.ensure(&group);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Starts the worker that a partition needs, unless it runs; how far it is.
    fn ensure(self: &Arc<Self>, source: &Arc<Group>) -> Option<watch::Receiver<Progress>> {
        let mut running = self.running.lock();
        if let Some(progress) = running.get(&source.id()) {
            return Some(progress.clone());
        }
        if !self.needed(source) {
            return None;
        }
        let (progress, follow) = watch::channel(Progress::default());
        running.insert(source.id(), follow.clone());
        tokio::spawn(Worker::new(Arc::clone(self), Arc::clone(source), progress).run());
        Some(follow)
    }

    /// Whether a partition's changes have a reader.
    fn needed(&self, source: &Group) -> bool {
        let descriptor = source.descriptor();
        let read = |schema: &Arc<_>| has_readers(schema);
        self.store.group(source.id()).is_some() && source.stats().leader && descriptor.schema().is_some_and(read)
    }

    /// Takes a worker off the list when nobody needs it. The list's lock is held, so that [`Self::ensure`] either finds
    /// the worker at work or starts another.
    fn ended(&self, source: &Group) -> bool {
        let mut running = self.running.lock();
        let ended = !self.needed(source);
        if ended {
            running.remove(&source.id());
        }
        ended
    }

    /// Waits until everything that is applied in these sources by now has been delivered; not where nothing is delivered
    /// at the moment, and not for longer than a moment.
    pub async fn follow_now(self: &Arc<Self>, sources: impl Iterator<Item = &Arc<Group>>) {
        let ahead: Vec<_> = sources
            .filter_map(|source| Some((self.ensure(source)?, source.stats().counters.clock)))
            .filter(|(progress, time)| progress.borrow().delivered < *time)
            .collect();
        let follow = async {
            for (mut progress, time) in ahead {
                let there = |progress: &Progress| progress.delivered >= time || progress.waits.is_some();
                let _ = progress.wait_for(there).await;
            }
        };
        let _ = tokio::time::timeout(FOLLOW_MAX, follow).await;
    }

    /// How far behind its source a worker is, in milliseconds; `None` if nothing is delivered from there.
    pub fn lag_ms(&self, source: &Group) -> Option<u64> {
        let delivered = self.running.lock().get(&source.id())?.borrow().delivered;
        Some(source.stats().counters.clock.ms().saturating_sub(delivered.ms()))
    }

    /// Lets admission hold back writes to sources that are too far ahead of their indexes.
    pub fn hold_back_in(self: &Arc<Self>, admission: &Admission) {
        let deliveries = Arc::downgrade(self);
        admission.hold_back(Box::new(move |source| deliveries.upgrade()?.too_far(source)));
    }

    /// Whether indexes are too far behind a source: they are being delivered to, and do not catch up. What cannot be delivered at all is
    /// an outage, and not the load of this source's writers: it holds back nobody.
    pub fn too_far(&self, source: GroupId) -> Option<TooFar> {
        let running = self.running.lock();
        let progress = running.get(&source)?.borrow();
        let lag = progress.lag.as_ref()?;
        let lag_ms = (self.now_ms)().saturating_sub(lag.oldest_ms.max(lag.since_ms));
        (lag_ms > self.lag_max.as_millis() as u64).then(|| TooFar {
            index: progress.held_by.clone(),
        })
    }

    /// Why nothing is delivered from a source at the moment, if so.
    pub fn waits(&self, source: GroupId) -> Option<Undelivered> {
        self.running.lock().get(&source)?.borrow().waits.clone()
    }

    /// Waits until everything up to a time has been delivered from a source.
    pub async fn delivered(self: &Arc<Self>, source: &Arc<Group>, time: ItemTime) -> Result<(), Refusal> {
        let mut progress = self.ensure(source).ok_or(Refusal::StaleSchema)?;
        match progress.wait_for(|progress| progress.delivered >= time).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::StaleSchema),
        }
    }
}

fn has_readers(schema: &partita_model::schema::TableSchema) -> bool {
    !schema.global.is_empty() || schema.stream.is_some()
}

/// Who delivers from a source now.
pub fn session(source: &Group) -> Session {
    Session {
        range_epoch: source.descriptor().range_epoch,
        term: source.stats().term,
    }
}
