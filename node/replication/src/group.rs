//! One replication group, as this store has it: the public face of its replica.
//!
//! A write:
//! 1. is evaluated under the group's lock on the caller's thread, in memory; what needs the disk is first read into the
//!    block cache by the pool ([`Group::write`]);
//! 2. leaves its effect in the open entry and its group in the log writer's queue;
//! 3. is answered when its entry has been applied.
//!
//! A read goes straight to the storage and then asks whether the group was serving all the while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

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

use uuid::Uuid;

use crate::core::Core;
use crate::driver::DriverError;
use crate::fate::Waiting;
use crate::log::GroupRecord;
use crate::members::{Changed, MemberChange, Members, MembershipError, ReplicaId};
use crate::planted::{self, Bug};
use crate::replica::{Applied, Installed, Replica, Settled, Wish};
use crate::stats::GroupStats;
use crate::time::EVENTUAL_NS;
use crate::writer::Fatal;

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
    /// Until when, by the store's clock, nobody else can have been elected; `u64::MAX` where nobody else votes.
    lease_until: AtomicU64,
    /// Until when a follower may answer eventual reads.
    fresh_until: AtomicU64,
    /// Whether there are other replicas.
    has_peers: AtomicBool,
    me: Weak<Self>,
    applied: watch::Sender<LogPosition>,
}

/// Where an evaluation leads.
enum Step<T> {
    Answer(Result<T, Refusal>),
    /// The answer holds once this is known to have gone well.
    Wait(Waiting, Result<T, Refusal>),
    /// The answer changes nothing: it holds once what it saw is applied, if the replica then still led in this term.
    Confirm(u64, Option<Waiting>, Result<T, Refusal>),
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
    ) -> Arc<Self> {
        let has_peers = replica.members().members.len() != 1;
        Arc::new_cyclic(|me| Self {
            id,
            core,
            record,
            reader,
            replica: Mutex::new(replica),
            applied: watch::channel(applier.at()).0,
            applier: Mutex::new(applier),
            serving: AtomicU64::new(0),
            lease_until: AtomicU64::new(0),
            fresh_until: AtomicU64::new(0),
            has_peers: has_peers.into(),
            me: Weak::clone(me),
        })
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
            replica: self.record.replica,
            leads: replica.leader(),
            members: Arc::clone(replica.members()),
            committed: replica.committed_index(),
            serving: replica.serving_term(),
            lease_until: replica.lease_until(),
            resting: replica.is_resting(),
            applied: applied.at,
            counters: applied.counters,
            in_flight: replica.in_flight(),
        }
    }

    /// The members as applied.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(self.replica.lock().members())
    }

    /// Changes the members, at the leader, once for each id: who asks again with the same id is told what it came to.
    /// Returns when the change is applied here (of a replacement, when both configurations are in force; the leader then
    /// leaves the old one by itself).
    pub async fn change_members(&self, id: Uuid, change: MemberChange) -> Result<Changed, MembershipError> {
        let now = (self.core.elapsed)();
        match self.with_turn(|replica| replica.change_members(id, change, now))? {
            Wish::Made(changed) => Ok(changed),
            Wish::Proposed(waiting) => {
                waiting.await?;
                self.members().changed(id).ok_or(MembershipError::Busy)
            }
        }
    }

    /// Asks a voter to take the leadership over, at the leader. It has happened when this replica leads no longer; when
    /// that takes longer than an election timeout, it will not.
    pub fn transfer_leadership(&self, to: ReplicaId) -> Result<(), MembershipError> {
        self.with_turn(|replica| replica.transfer(to))
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
                Step::Confirm(term, waiting, answer) => return self.confirmed(term, waiting, answer).await,
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
                Step::Confirm(term, waiting, answer) => return self.confirmed(term, waiting, answer).await,
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
                Evaluated::Refused { error, .. } => Ok((None, Err(Refusal::Api(error)))),
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
            return Step::Confirm(replica.serving_term(), replica.settled(), answer);
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

    /// An answer without an effect, once it is certain that it was right.
    async fn confirmed<T>(
        &self,
        term: u64,
        waiting: Option<Waiting>,
        answer: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let Some(waiting) = waiting {
            waiting.await?;
        }
        if !self.holds(term) && !planted::has(Bug::RefuseWithoutLease) {
            Box::pin(self.confirm(term)).await?;
        }
        answer
    }

    async fn warm(&self, request: WriteRequest) -> Result<WriteRequest, Refusal> {
        let reader = Arc::clone(&self.reader);
        let job = move || reader.warm(&request).map(|()| request);
        self.core.pool.run(job).await?.map_err(PartitionError::into_refusal)
    }

    /// One item: on the calling thread when memory is enough.
    pub async fn get(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        let strong = request.consistent;
        let Ok(term) = self.serving_term() else {
            return self.eventually(strong, self.get_here(request)).await;
        };
        let confirmed = strong && !self.holds(term);
        if confirmed {
            // A round of questions comes before the read: what is read after it is new enough.
            Box::pin(self.confirm(term)).await?;
        }
        let reply = self.get_here(request).await;
        self.checked(strong && !confirmed, term, reply)
    }

    async fn get_here(&self, request: GetRequest) -> Result<GetReply, Refusal> {
        match self.reader.get(&request, Tier::BlockCacheOnly) {
            Err(PartitionError::NotCached) => Box::pin(self.pooled(move |r| r.get(&request, Tier::All))).await,
            answer => answer.map_err(PartitionError::into_refusal),
        }
    }

    /// One page of items or index rows: on the calling thread when memory is enough.
    pub async fn page(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        let strong = request.consistent;
        let Ok(term) = self.serving_term() else {
            return self.eventually(strong, self.page_here(request)).await;
        };
        let confirmed = strong && !self.holds(term);
        if confirmed {
            Box::pin(self.confirm(term)).await?;
        }
        let reply = self.page_here(request).await;
        self.checked(strong && !confirmed, term, reply)
    }

    async fn page_here(&self, request: PageRequest) -> Result<PageReply, Refusal> {
        match self.reader.page(&request, Tier::BlockCacheOnly) {
            Err(PartitionError::NotCached) => Box::pin(self.pooled(move |r| r.page(&request, Tier::All))).await,
            answer => answer.map_err(PartitionError::into_refusal),
        }
    }

    /// A reply that was read while this replica served, if it did all the while (and held the lease, if it has to).
    fn checked<T>(&self, leased: bool, term: u64, reply: Result<T, Refusal>) -> Result<T, Refusal> {
        if leased && !self.holds(term) {
            return Err(Refusal::NotLeader);
        }
        self.still_serving(term)?;
        reply
    }

    /// An eventual read at a replica that does not lead: it heard a live leader lately and has applied what that had
    /// committed, before the read and after it.
    async fn eventually<T>(&self, strong: bool, read: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let refusal = || self.replica.lock().refusal().unwrap_or(Refusal::NotLeader);
        if strong || !self.is_fresh() {
            return Err(refusal());
        }
        let reply = read.await;
        if !self.is_fresh() {
            return Err(refusal());
        }
        reply
    }

    fn is_fresh(&self) -> bool {
        if !self.has_peers() {
            return false;
        }
        let now = (self.core.elapsed)();
        if now < self.fresh_until.load(Ordering::Acquire) {
            return true;
        }
        // A group that rests hears nothing, but for its stores.
        let replica = self.replica.lock();
        let heard = replica.rests_with().map(|store| self.core.liveness.heard(store));
        heard.is_some_and(|heard| now.saturating_sub(heard) < EVENTUAL_NS) && replica.fresh_until() > 0
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
        let confirmed = !self.holds(term);
        if confirmed {
            Box::pin(self.confirm(term)).await?;
        }
        let reply = self.pooled(read).await;
        self.checked(!confirmed, term, reply)
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

    /// Whether nobody else can have been elected: asked *after* what is to be answered was read. The lease is loaded
    /// before the term, so that it never is a later term's.
    fn holds(&self, term: u64) -> bool {
        let until = self.lease_until.load(Ordering::Acquire);
        let held = until == u64::MAX || (self.core.elapsed)() < until || planted::has(Bug::ReadWithoutLease);
        held && self.serving.load(Ordering::Acquire) == term
    }

    /// Makes sure that this replica led, in this term, at some time after this call, and has applied everything that was
    /// committed before it.
    async fn confirm(&self, term: u64) -> Result<(), Refusal> {
        let waiting = self.with_turn(|replica| replica.confirm(term))?;
        waiting.await
    }

    pub(crate) fn record(&self) -> &GroupRecord {
        &self.record
    }

    pub(crate) fn reader(&self) -> &PartitionReader<S> {
        &self.reader
    }

    /// Whether the group has other replicas.
    pub(crate) fn has_peers(&self) -> bool {
        self.has_peers.load(Ordering::Relaxed)
    }

    /// Does something to the replica under its lock, and lets everybody know what changed by it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Replica<S>) -> T) -> T {
        let mut replica = self.replica.lock();
        let done = act(&mut replica);
        self.publish(&replica);
        let (fates, dropped) = (replica.take_fates(), replica.take_dropped());
        drop(replica);
        self.core.queue.note_taken(dropped);
        decide(fates);
        done
    }

    /// The same; what the replica wants done by that is left to the log writer.
    pub(crate) fn with_turn<T>(&self, act: impl FnOnce(&mut Replica<S>) -> T) -> T {
        let mut enqueue = false;
        let done = self.with(|replica| {
            let done = act(replica);
            enqueue = replica.wants_turn() && replica.enqueue();
            done
        });
        if enqueue && let Some(group) = self.me.upgrade() {
            self.core.queue.push(group);
        }
        done
    }

    /// What is read without the lock. A lease is never seen with an older term than its own: see [`Group::holds`].
    fn publish(&self, replica: &Replica<S>) {
        let serving = replica.serving_term();
        if self.serving.load(Ordering::Relaxed) != serving {
            self.serving.store(0, Ordering::Release);
        }
        self.lease_until.store(replica.lease_until(), Ordering::Release);
        self.serving.store(serving, Ordering::Release);
        self.fresh_until.store(replica.fresh_until(), Ordering::Release);
        self.has_peers
            .store(replica.members().members.len() != 1, Ordering::Relaxed);
    }

    /// Puts it into the log writer's queue for what its replica wants done.
    pub(crate) fn enqueue(self: &Arc<Self>) {
        if self.replica.lock().enqueue() {
            self.core.queue.push(Arc::clone(self));
        }
    }

    /// Entries up to `at` are applied and visible: whoever waits is told.
    pub(crate) fn settle(
        &self,
        at: LogPosition,
        skipped: &[(u64, Refusal)],
        changes: Vec<Applied>,
    ) -> Result<(), DriverError> {
        self.with_turn(|replica| replica.settle(at, skipped, changes))?;
        self.applied.send_replace(at);
        Ok(())
    }

    /// A snapshot has become the state.
    pub(crate) fn install(&self, installed: Installed) -> Result<(), Fatal> {
        let (index, at) = (installed.at.index, self.reload(&installed)?);
        debug_assert_eq!(index, at.index);
        self.with_turn(|replica| replica.installed(installed));
        self.applied.send_replace(at);
        Ok(())
    }

    fn reload(&self, installed: &Installed) -> Result<LogPosition, Fatal> {
        let mut applier = self.applier.lock();
        let index = installed.at.index;
        applier.reload().map_err(|error| Fatal::Apply { index, error })?;
        Ok(applier.at())
    }

    /// Nothing goes on here any more.
    pub(crate) fn end(&self, refusal: Refusal) {
        self.with(|replica| replica.end(refusal));
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
