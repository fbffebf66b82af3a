//! One replication group, as this store has it: the public face of its replica.
//!
//! A write:
//! 1. is evaluated under the group's lock on the caller's thread, in memory; what needs the disk is first read into the
//!    block cache by the pool ([`Group::write`]);
//! 2. leaves its effect in the open entry and its group in the log writer's queue;
//! 3. is answered when its entry has been applied.
//!
//! A read goes straight to the storage and then asks whether the group was serving all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::{GetReply, GetRequest, PageReply, PageRequest, Refusal, WriteReply, WriteRequest};
use partita_partition::applier::Applier;
use partita_partition::change::ChangeRecord;
use partita_partition::command::{Command, CommandReply, Delivered};
use partita_partition::descriptor::{GroupId, ItemTime, LogPosition, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::evaluator::{Effect, Evaluated, Evaluator};
use partita_partition::reader::PartitionReader;
use partita_partition::storage::rocks::RocksStorage;
use partita_partition::storage::{Storage, Tier};
use tokio::sync::watch;

use crate::core::Core;
use crate::fate::Waiting;
use crate::log::GroupRecord;
use crate::replica::{Replica, Settled};
use crate::stats::GroupStats;

/// A write is evaluated in memory so often, with its rows read into the block cache in between, before it may read the
/// disk under the group's lock: the cache may be too small to keep them.
const WARM_ATTEMPTS: u32 = 3;

/// A replica of a group; shared.
pub struct Group<S: Storage = RocksStorage> {
    id: GroupId,
    core: Arc<Core<S>>,
    record: GroupRecord,
    reader: Arc<PartitionReader<S>>,
    pub(crate) replica: Mutex<Replica<S>>,
    pub(crate) applier: Mutex<Applier<S>>,
    /// The term in which it serves reads; 0 while it does not.
    serving: AtomicU64,
    applied: watch::Sender<LogPosition>,
}

/// Where an evaluation leads.
enum Step<T> {
    Answer(Result<T, Refusal>),
    /// The answer holds once this is known to have gone well.
    Wait(Waiting, Result<T, Refusal>),
    /// Try again after this.
    Full(Waiting),
    /// Memory is not enough.
    NotCached,
}

impl<S: Storage> Group<S> {
    pub(crate) fn new(
        core: Arc<Core<S>>,
        id: GroupId,
        record: GroupRecord,
        reader: Arc<PartitionReader<S>>,
        applier: Applier<S>,
        replica: Replica<S>,
    ) -> Self {
        Self {
            id,
            core,
            record,
            reader,
            replica: Mutex::new(replica),
            applied: watch::channel(applier.at()).0,
            applier: Mutex::new(applier),
            serving: AtomicU64::new(0),
        }
    }

    /// Its id.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The partition as applied.
    pub fn descriptor(&self) -> Arc<PartitionDescriptor> {
        self.reader.descriptor()
    }

    /// What it counts.
    pub fn stats(&self) -> GroupStats {
        let applied = self.reader.applied();
        let replica = self.replica.lock();
        GroupStats {
            term: replica.term(),
            leader: replica.is_leader(),
            applied: applied.at,
            counters: applied.counters,
            in_flight: replica.in_flight(),
        }
    }

    /// The last applied entry, and a wake-up whenever there is a later one: what index workers sleep on.
    pub fn subscribe(&self) -> watch::Receiver<LogPosition> {
        self.applied.subscribe()
    }

    /// One conditional write; durable and visible when this returns `Ok`. Dropping the future does not undo it.
    pub async fn write(self: &Arc<Self>, request: WriteRequest) -> Result<WriteReply, Refusal> {
        let mut request = request;
        let mut warmed = 0;
        loop {
            let tier = if warmed < WARM_ATTEMPTS {
                Tier::BlockCacheOnly
            } else {
                Tier::All
            };
            match self.evaluate(&request, tier) {
                Step::Answer(answer) => return answer,
                Step::Wait(waiting, answer) => {
                    waiting.await?;
                    return answer;
                }
                Step::Full(waiting) => drop(waiting.await),
                Step::NotCached => {
                    request = Box::pin(self.warm(request)).await?;
                    warmed += 1;
                }
            }
        }
    }

    /// One command, in one order with the writes; durable and visible when this returns `Ok`.
    pub async fn command(self: &Arc<Self>, command: Command) -> Result<CommandReply, Refusal> {
        let command = Arc::new(command);
        let mut step = self.evaluate_command(&command, Tier::BlockCacheOnly);
        loop {
            match step {
                Step::Answer(answer) => return answer,
                Step::Wait(waiting, answer) => {
                    waiting.await?;
                    return answer;
                }
                Step::Full(waiting) => {
                    drop(waiting.await);
                    step = self.evaluate_command(&command, Tier::BlockCacheOnly);
                }
                Step::NotCached => {
                    let (group, command) = (Arc::clone(self), Arc::clone(&command));
                    let job = move || group.evaluate_command(&command, Tier::All);
                    step = self.core.pool.run(job).await?;
                }
            }
        }
    }

    fn evaluate(self: &Arc<Self>, request: &WriteRequest, tier: Tier) -> Step<WriteReply> {
        self.submit(true, |evaluator, now_ms| {
            match evaluator.evaluate(request, now_ms, tier)? {
                Evaluated::Changed { effect, reply } => Ok((Some(effect), Ok(reply))),
                Evaluated::Unchanged { reply } => Ok((None, Ok(reply))),
                Evaluated::Refused { error, cost } => {
                    let cost = Box::new(cost);
                    Ok((None, Err(Refusal::Evaluated { error, cost })))
                }
            }
        })
    }

    fn evaluate_command(self: &Arc<Self>, command: &Command, tier: Tier) -> Step<CommandReply> {
        self.submit(!makes_room(command), |evaluator, now_ms| {
            let (effect, reply) = evaluator.command(command, now_ms, tier)?;
            Ok((effect, Ok(reply)))
        })
    }

    /// Evaluates under the group's lock and leaves the effect in the open entry: one order for both.
    fn submit<T>(
        self: &Arc<Self>,
        takes_room: bool,
        evaluate: impl FnOnce(&mut Evaluator<S>, u64) -> Result<(Option<Effect>, Result<T, Refusal>), PartitionError>,
    ) -> Step<T> {
        if takes_room && self.core.space.is_low() {
            return Step::Answer(Err(Refusal::OutOfSpace));
        }
        let now_ms = (self.core.now_ms)();
        let mut replica = self.replica.lock();
        if let Some(refusal) = replica.refusal() {
            return Step::Answer(Err(refusal));
        }
        if let Some(waiting) = replica.full() {
            return Step::Full(waiting);
        }
        let (effect, answer) = match evaluate(&mut replica.evaluator, now_ms) {
            Ok(evaluated) => evaluated,
            Err(PartitionError::NotCached) => return Step::NotCached,
            Err(error) => return Step::Answer(Err(error.into_refusal())),
        };
        let Some(effect) = effect else {
            return match replica.settled() {
                Some(waiting) => Step::Wait(waiting, answer),
                None => Step::Answer(answer),
            };
        };
        let waiting = replica.push(&effect);
        self.core.queue.note_opened();
        let enqueue = replica.enqueue();
        drop(replica);
        if enqueue {
            self.core.queue.push(Arc::clone(self));
        }
        Step::Wait(waiting, answer)
    }

    async fn warm(&self, request: WriteRequest) -> Result<WriteRequest, Refusal> {
        let reader = Arc::clone(&self.reader);
        let job = move || reader.warm(&request).map(|()| request);
        self.core.pool.run(job).await?.map_err(PartitionError::into_refusal)
    }

    /// One item: on the calling thread when memory is enough.
    pub async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        let term = self.serving_term()?;
        let reply = match self.reader.get(&request, Tier::BlockCacheOnly) {
            Err(PartitionError::NotCached) => Box::pin(self.pooled(move |r| r.get(&request, Tier::All))).await,
            answer => answer.map_err(PartitionError::into_refusal),
        };
        self.still_serving(term)?;
        reply
    }

    /// One page of items or index rows: on the calling thread when memory is enough.
    pub async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        let term = self.serving_term()?;
        let reply = match self.reader.page(&request, Tier::BlockCacheOnly) {
            Err(PartitionError::NotCached) => Box::pin(self.pooled(move |r| r.page(&request, Tier::All))).await,
            answer => answer.map_err(PartitionError::into_refusal),
        };
        self.still_serving(term)?;
        reply
    }

    /// The change log behind `after`, in order of time: at most so many records, and no further one once so many bytes
    /// have been read.
    pub async fn changes(
        &self,
        after: ItemTime,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<ChangeRecord>, Refusal> {
        self.served(move |reader| reader.changes(after, records_max, bytes_max))
            .await
    }

    /// How far this source has been delivered here (on a global index's partition).
    pub async fn position(&self, source: GroupId) -> Result<Option<Delivered>, Refusal> {
        self.served(move |reader| reader.position(source)).await
    }

    /// Items whose time to live has run out, with their key attributes.
    pub async fn expired(&self, now_s: u64, max: usize) -> Result<Vec<(KeyBytes, Item)>, Refusal> {
        self.served(move |reader| reader.expired(now_s, max)).await
    }

    /// A read on the pool, at a serving leader.
    async fn served<T: Send + 'static>(
        &self,
        read: impl FnOnce(&PartitionReader<S>) -> Result<T, PartitionError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let term = self.serving_term()?;
        let reply = self.pooled(read).await;
        self.still_serving(term)?;
        reply
    }

    async fn pooled<T: Send + 'static>(
        &self,
        read: impl FnOnce(&PartitionReader<S>) -> Result<T, PartitionError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = Arc::clone(&self.reader);
        self.core
            .pool
            .run(move || read(&reader))
            .await?
            .map_err(PartitionError::into_refusal)
    }

    fn serving_term(&self) -> Result<u64, Refusal> {
        match self.serving.load(Ordering::Acquire) {
            0 => Err(self.replica.lock().refusal().unwrap_or(Refusal::NotLeader)),
            term => Ok(term),
        }
    }

    fn still_serving(&self, term: u64) -> Result<(), Refusal> {
        if self.serving_term()? == term {
            Ok(())
        } else {
            Err(Refusal::NotLeader)
        }
    }

    pub(crate) fn record(&self) -> &GroupRecord {
        &self.record
    }

    pub(crate) fn reader(&self) -> &PartitionReader<S> {
        &self.reader
    }

    /// Puts it into the log writer's queue for what its replica wants done.
    pub(crate) fn enqueue(self: &Arc<Self>) {
        if self.replica.lock().enqueue() {
            self.core.queue.push(Arc::clone(self));
        }
    }

    /// Entries up to `at` are applied and visible: whoever waits is told.
    pub(crate) fn settle(&self, at: LogPosition, skipped: &[(u64, Refusal)]) {
        let fates = {
            let mut replica = self.replica.lock();
            let (fates, begins) = replica.settle(at, skipped);
            if begins {
                self.serving.store(replica.term(), Ordering::Release);
            }
            fates
        };
        decide(fates);
        self.applied.send_replace(at);
    }

    /// Nothing goes on here any more.
    pub(crate) fn end(&self, refusal: Refusal) {
        let fates = {
            let mut replica = self.replica.lock();
            self.serving.store(0, Ordering::Release);
            let open = replica.open_effects();
            self.core.queue.note_taken(open);
            replica.end(refusal)
        };
        decide(fates);
    }
}

fn decide(fates: Vec<Settled>) {
    for (fate, outcome) in fates {
        fate.decide(outcome);
    }
}

/// Whether a command frees more than it writes: it is let through below the reserve.
fn makes_room(command: &Command) -> bool {
    match command {
        Command::TrimChanges { .. } | Command::DropExpiry { .. } => true,
        Command::SetSchema(_) | Command::Deliver(_) | Command::Backfill { .. } | Command::IndexExpiry { .. } => false,
    }
}
