//! One replication group, as this store has it: the public face of its replica.
//!
//! A write:
//! 1. is evaluated under the group's lock on the caller's thread, in memory; what needs the disk is first read into the
//!    block cache by the pool ([`Group::write`]);
//! 2. leaves its effect in the open entry and its group in the log writer's queue;
//! 3. is answered when its entry has been applied.
//!
//! Reads are in [`reads`]: they go straight to the storage and then ask whether the group was serving all the while.

pub mod merge;
mod reads;
pub mod split;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use partita_model::key::KeyBytes;
use partita_model::request::{Refusal, WriteReply, WriteRequest};
use partita_partition::applier::Applier;
use partita_partition::command::{Command, CommandReply};
use partita_partition::descriptor::{GroupId, LogPosition, PartitionDescriptor};
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
use crate::replica::{Applied, Errand, Install, Installed, Replica, Settled, Wish};
use crate::stats::GroupStats;
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
    /// Whether a split or a merge is on its way: reads have to look whether it takes their keys away.
    turning: AtomicBool,
    /// Whether a snapshot is coming.
    receiving: AtomicBool,
    leadership: watch::Sender<Leadership>,
    me: Weak<Self>,
    applied: watch::Sender<LogPosition>,
}

/// Who leads a group, as far as a replica knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The replica that leads; 0 when nobody is known to.
    pub leader: ReplicaId,
    /// The term in which this replica serves as the leader; 0 while it does not.
    pub serving: u64,
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
            turning: false.into(),
            receiving: false.into(),
            leadership: watch::Sender::default(),
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
            progress: replica.progress((self.core.elapsed)()),
            committed: replica.committed_index(),
            serving: replica.serving_term(),
            lease_until: replica.lease_until(),
            resting: replica.is_resting(),
            applied: applied.at,
            counters: applied.counters,
            frozen: applied.frozen,
            in_flight: replica.in_flight(),
        }
    }

    /// The last entry of its log.
    pub(crate) fn log_end(&self) -> LogPosition {
        self.replica.lock().log_end()
    }

    /// The members as applied.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(self.replica.lock().members())
    }

    /// Changes the members, at the leader, once for each id: who asks again with the same id is told what it came to.
    /// Returns when the change is applied here (of a replacement, when both configurations are in force; the leader then
    /// leaves the old one by itself).
    pub async fn change_members(&self, id: Uuid, change: MemberChange) -> Result<Changed, MembershipError> {
        self.change_members_at(id, None, change).await
    }

    /// The same, only if the membership epoch is the expected one.
    pub async fn change_members_at(
        &self,
        id: Uuid,
        expected: Option<u64>,
        change: MemberChange,
    ) -> Result<Changed, MembershipError> {
        if matches!(change, MemberChange::AddLearner { .. }) {
            self.leave_birth_behind().await?;
        }
        let now = (self.core.elapsed)();
        match self.with_turn(|replica| replica.change_members(id, expected, change, now))? {
            Wish::Made(changed) => Ok(changed),
            Wish::Proposed(waiting) => {
                waiting.await?;
                self.members().changed(id).ok_or(MembershipError::Busy)
            }
        }
    }

    /// A group that was born with a single voter has a log that begins at its birth. Whoever is added has to begin with a
    /// snapshot, which says who the members are: so the log's beginning is cut off first.
    async fn leave_birth_behind(&self) -> Result<(), Refusal> {
        if !self.replica.lock().has_whole_log() {
            return Ok(());
        }
        let (storage, reader) = (Arc::clone(self.reader.storage()), Arc::clone(&self.reader));
        let flush = move || {
            storage
                .flush()
                .map_err(PartitionError::from)
                .and_then(|()| reader.flushed_at())
        };
        let flushed = self.core.pool.run(flush).await?.map_err(PartitionError::into_refusal)?;
        // In the same turn in which the change is proposed, or in one before.
        self.with_turn(|replica| replica.cut(flushed));
        Ok(())
    }

    /// Whether this replica serves as the leader, at a glance: it may have changed when this returns.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire) != 0
    }

    /// Asks a voter to take the leadership over, at the leader, once what is in flight has been applied; new writes are
    /// refused meanwhile. It has happened when this replica leads no longer; when that takes longer than an election
    /// timeout or two, it will not. (A voter that has not applied its own promotion yet
    /// does not take over: ask again.)
    pub fn transfer_leadership(&self, to: ReplicaId) -> Result<(), MembershipError> {
        let now = (self.core.elapsed)();
        self.with_turn(|replica| replica.transfer(to, now))
    }

    /// Asks the voter that has most of the log to take the leadership over. False when this replica does not lead, or
    /// nobody is there who could.
    pub fn hand_over(&self) -> bool {
        let now = (self.core.elapsed)();
        self.with_turn(|replica| replica.hand_over(now))
    }

    /// The last entry whose effects are in the state's files: what a restart need not apply again.
    pub fn flushed(&self) -> Result<LogPosition, PartitionError> {
        self.reader.flushed_at()
    }

    /// Who leads, and a wake-up whenever that changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
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
                Step::Wait(waiting, answer) => match waiting.await {
                    Ok(()) => return answer,
                    Err(refusal) => self.between_leaders(refusal).await?,
                },
                Step::Confirm(term, waiting, answer) => match self.confirmed(term, waiting).await {
                    Ok(()) => return answer,
                    Err(refusal) => self.between_leaders(refusal).await?,
                },
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
                Step::Confirm(term, waiting, answer) => {
                    self.confirmed(term, waiting).await?;
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
        let leaves = |from: &KeyBytes| request.key >= *from;
        self.submit(true, leaves, |evaluator, now_ms| {
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
        self.submit(
            !makes_room(command),
            |from| touches(command, from),
            |evaluator, now_ms| {
                let (effect, reply) = evaluator.command(command, now_ms, tier)?;
                Ok((effect, Ok(reply)))
            },
        )
    }

    /// Evaluates under the group's lock and leaves the effect in the open entry: one order for both.
    fn submit<T>(
        self: &Arc<Self>,
        takes_room: bool,
        concerns: impl FnOnce(&KeyBytes) -> bool,
        evaluate: impl FnOnce(&mut Evaluator<S>, u64) -> Result<(Option<Effect>, Result<T, Refusal>), PartitionError>,
    ) -> Step<T> {
        if takes_room && self.core.space.is_low() {
            return Step::Answer(Err(Refusal::OutOfSpace));
        }
        let now_ms = (self.core.now_ms)();
        let mut replica = self.replica.lock();
        if let Some(refusal) = replica.refusal() {
            return match replica.awaited().filter(|_| refusal == Refusal::NotLeader) {
                Some(waiting) => Step::Full(waiting),
                None => Step::Answer(Err(refusal)),
            };
        }
        if let Some(waiting) = replica.full().or_else(|| replica.held(concerns)) {
            return Step::Full(waiting);
        }
        let evaluated = replica.evaluated();
        let (effect, answer) = match evaluate(&mut replica.evaluator, now_ms) {
            Ok(evaluated) => evaluated,
            Err(PartitionError::NotCached) => return Step::NotCached,
            Err(error) => return Step::Answer(Err(error.into_refusal())),
        };
        let Some(effect) = effect else {
            return Step::Confirm(replica.serving_term(), replica.settled(), answer);
        };
        let waiting = replica.push(&effect, evaluated);
        self.core.queue.note_opened();
        let enqueue = replica.enqueue();
        drop(replica);
        if enqueue {
            self.core.queue.push(Arc::clone(self));
        }
        Step::Wait(waiting, answer)
    }

    /// An answer without an effect, once it is certain that it was right.
    async fn confirmed(&self, term: u64, waiting: Option<Waiting>) -> Result<(), Refusal> {
        if let Some(waiting) = waiting {
            waiting.await?;
        }
        if !self.holds(term) && !planted::has(Bug::RefuseWithoutLease) {
            Box::pin(self.confirm(term)).await?;
        }
        Ok(())
    }

    /// What was refused because nobody leads here is worth asking again between two leaders, once this has returned; any other
    /// refusal is given back.
    async fn between_leaders(&self, refusal: Refusal) -> Result<(), Refusal> {
        if refusal != Refusal::NotLeader {
            return Err(refusal);
        }
        let waiting = self.replica.lock().awaited().ok_or(refusal)?;
        // Whatever it says, the next attempt tells.
        drop(waiting.await);
        Ok(())
    }

    async fn warm(&self, request: WriteRequest) -> Result<WriteRequest, Refusal> {
        let reader = Arc::clone(&self.reader);
        let job = move || reader.warm(&request).map(|()| request);
        self.core.pool.run(job).await?.map_err(PartitionError::into_refusal)
    }

    pub(crate) fn core(&self) -> &Arc<Core<S>> {
        &self.core
    }

    pub(crate) fn record(&self) -> &GroupRecord {
        &self.record
    }

    pub(crate) fn reader(&self) -> &PartitionReader<S> {
        &self.reader
    }

    /// The last applied entry's index.
    pub(crate) fn applied_index(&self) -> u64 {
        self.applied.borrow().index
    }

    /// Whether a snapshot is coming.
    pub fn is_receiving(&self) -> bool {
        self.receiving.load(Ordering::Acquire)
    }

    /// Whether the group has other replicas.
    pub fn has_peers(&self) -> bool {
        self.has_peers.load(Ordering::Relaxed)
    }

    /// Does something to the replica under its lock, and lets everybody know what changed by it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Replica<S>) -> T) -> T {
        let mut replica = self.replica.lock();
        let done = act(&mut replica);
        self.publish(&replica);
        let (fates, dropped, errands) = (replica.take_fates(), replica.take_dropped(), replica.take_errands());
        drop(replica);
        self.core.queue.note_taken(dropped);
        for errand in errands {
            self.run(errand);
        }
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

    /// Has something read for a follower that is behind, and gives it to the replica.
    fn run(&self, errand: Errand<S>) {
        let me = Weak::clone(&self.me);
        self.core.courier.send(errand.due(), move || {
            let Some(group) = me.upgrade() else { return };
            let now = || (group.core.elapsed)();
            match errand {
                Errand::Chunk(reading) => {
                    let read = reading.read();
                    group.with_turn(|replica| replica.chunk_read(read, now()));
                }
                Errand::Entries(fetch, _) => {
                    let read = group.core.log.entries(group.id, fetch.low, fetch.high, fetch.bytes_max);
                    let entries = read.unwrap_or_else(|error| {
                        // They may have been cut off meanwhile. They are asked for again.
                        tracing::debug!(group = group.id.0, %error, "entries for a follower cannot be read");
                        Vec::new()
                    });
                    group.with_turn(|replica| replica.entries_read(fetch, entries, now()));
                }
            }
        });
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
        let leader = replica.leader();
        let now = Leadership { leader, serving };
        let before = *self.leadership.borrow();
        if before != now {
            self.leadership.send_replace(now);
            if before.serving != now.serving {
                // Who works beside leaders (deliveries, expiry) begins, or ends.
                self.core.changed();
            }
        }
        self.turning.store(replica.is_turning(), Ordering::Release);
        self.receiving.store(replica.is_receiving(), Ordering::Release);
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

    /// A snapshot becomes the state in one of the next turns.
    pub(crate) fn go_on_installing(&self, install: Install) {
        self.with_turn(|replica| replica.go_on_installing(install));
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

/// Whether a command is about keys from here on.
fn touches(command: &Command, from: &KeyBytes) -> bool {
    match command {
        Command::Deliver(batch) => batch.rows.iter().any(|row| row.key >= *from),
        // What they change is the parent's: walks go to the end of its range.
        Command::SetSchema(_) | Command::TrimChanges { .. } | Command::Close(_) => false,
        Command::Backfill { .. } | Command::IndexExpiry { .. } | Command::DropExpiry { .. } => true,
    }
}

/// Whether a command frees more than it writes: it is let through below the reserve.
fn makes_room(command: &Command) -> bool {
    match command {
        Command::TrimChanges { .. } | Command::DropExpiry { .. } => true,
        Command::SetSchema(_) | Command::Deliver(_) | Command::Close(_) => false,
        Command::Backfill { .. } | Command::IndexExpiry { .. } => false,
    }
}
