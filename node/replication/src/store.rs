//! A data directory: its lock and identity, the state, the log, and the groups that live in it.
//!
//! 1. [`Store::open`] locks the folder, opens log and state and recovers every group ([`crate::recovery`]).
//! 2. Two threads run from then on: the log writer ([`crate::writer`]) and maintenance, which looks at free space and
//!    cuts the log below what the state has flushed.
//! 3. [`Store::bootstrap`] and [`Store::destroy`] make and end groups.
//! 4. [`Store::shutdown`] finishes what is in flight and flushes, so that the next start has nothing to apply.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::storage::Storage;
use partita_partition::storage::rocks::{RocksSettings, RocksStorage};
use raft::eraftpb::HardState;
use uuid::Uuid;

use crate::core::{Clock, Core, OnFatal};
use crate::folder::Folder;
use crate::group::Group;
use crate::liveness::Liveness;
use crate::log::rocks::RocksLog;
use crate::log::{GroupRecord, Life, LogChange, LogEngine, LogError, StoredGroup, Truncated};
use crate::members::{FIRST_REPLICA, Members, ReplicaId};
use crate::message::{NoPeers, Peers};
use crate::pool::ReadPool;
use crate::postbox::Waiting;
use crate::queue::Queue;
use crate::recovery::{self, Coming, RecoveryError};
use crate::replica::Limits;
use crate::space::{self, FreeSpace, Space};
use crate::stats::{Recorder, StoreStats};
use crate::time::{self, Elapsed, TICK_NS};
use crate::writer;

/// How often maintenance looks around.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Maintenance asks the groups how far their state is flushed after so many bytes of log, or so many rounds.
const CUT_AFTER_BYTES: u64 = 1 << 20;
const CUT_AFTER_ROUNDS: u32 = 30;
/// Where the log of a group begins that is born on several stores: behind an entry that nobody has, so that whoever is
/// added later needs a snapshot, in which it learns who the members are.
const BIRTH: Truncated = Truncated { index: 1, term: 1 };

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the data folder {0} is in use by another process")]
    Locked(PathBuf),
    /// A file or folder of ours could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// It was written by a newer version of the software.
    #[error("the data folder {path} has format {found}, this version reads up to {known}: use the newer version")]
    Newer {
        /// Which folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// The folder's identity file makes no sense.
    #[error("{path}: {reason}")]
    Identity {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The log could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The state could not be opened, or does not fit the log.
    #[error("the store cannot be recovered: {0}")]
    Recovery(String),
}

impl From<RecoveryError> for OpenError {
    fn from(error: RecoveryError) -> Self {
        Self::Recovery(error.to_string())
    }
}

/// What can be set about a store.
#[derive(Clone)]
pub struct StoreOptions {
    /// Memory of the state's engine.
    pub state: RocksSettings,
    /// Below this much free space of the volume writes are refused.
    pub reserve_bytes: u64,
    /// The state is flushed, so that the log can be cut, once the log holds more than this.
    pub log_bytes_max: u64,
    /// Threads for reads that need the disk.
    pub read_threads: usize,
    /// The wall clock in epoch milliseconds.
    pub now_ms: Clock,
    /// Asked for the free space instead of the volume.
    pub free_space: Option<FreeSpace>,
    /// The way to other stores; without one, all groups have a single replica.
    pub peers: Option<Arc<dyn Peers>>,
    /// The clock of elections and leases: `CLOCK_BOOTTIME` by default.
    pub elapsed: Elapsed,
    /// Bytes of log that a group keeps for followers that are behind; beyond, they get a snapshot.
    pub follower_bytes_max: u64,
    /// Rows of a snapshot that travel together.
    pub chunk_bytes: usize,
    /// The identity of a store that has no folder, and so none of its own.
    pub uuid: Uuid,
    /// Drawn anew at each start; election timeouts come from it.
    pub seed: u64,
    /// No threads: whoever opens the store takes its steps ([`crate::by_hand`]).
    pub by_hand: bool,
    /// Called when the process must end; by default it says why and aborts.
    pub on_fatal: OnFatal,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            state: RocksSettings::default(),
            // Room for what is in flight, a flush of all memtables and a compaction to go on.
            reserve_bytes: 256 << 20,
            log_bytes_max: 256 << 20,
            read_threads: 4,
            now_ms: Arc::new(epoch_ms),
            peers: None,
            elapsed: time::boot_time(),
            follower_bytes_max: 16 << 20,
            chunk_bytes: 256 << 10,
            uuid: Uuid::nil(),
            seed: rand::random(),
            by_hand: false,
            free_space: None,
            on_fatal: Arc::new(abort),
        }
    }
}

fn epoch_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// An unwinding thread would leave others running that answer for a disk nobody knows the state of.
fn abort(reason: &str) {
    tracing::error!("the store has failed and the process ends: {reason}");
    eprintln!("partita: the store has failed and the process ends: {reason}");
    std::process::abort();
}

/// A data directory that is open.
pub struct Store<S: Storage = RocksStorage> {
    pub(crate) core: Arc<Core<S>>,
    births: Mutex<Births>,
    pub(crate) waiting: Waiting,
    by_hand: bool,
    maintenance: Arc<Maintenance>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    log_bytes_max: u64,
    usage: fn(&S, &mut StoreStats),
}

/// What was ever born here.
#[derive(Default)]
struct Births {
    last: u64,
    /// Groups that were destroyed, and the highest number that a replica of theirs had here.
    destroyed: HashMap<GroupId, ReplicaId>,
    closed: bool,
}

/// How a replica is to be born.
struct Birth {
    replica: ReplicaId,
    members: Members,
    start: Truncated,
    coming: Coming,
}

/// Wakes the maintenance thread for its end, and remembers when it last cut.
#[derive(Default)]
struct Maintenance {
    stop: Mutex<bool>,
    wake: Condvar,
    log_bytes_seen: AtomicU64,
}

impl Store<RocksStorage> {
    /// Opens a data directory, making it when there is none, and recovers everything in it. Blocks; takes seconds
    /// after a crash.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Arc<Self>, OpenError> {
        let folder = Folder::open(path)?;
        let log = RocksLog::open(&folder.log())?;
        let storage = RocksStorage::open(&folder.state(), options.state)
            .map_err(|error| OpenError::Recovery(format!("opening the state: {error}")))?;
        Self::start(Some(folder), Arc::new(storage), Arc::new(log), options, rocks_usage)
    }
}

fn rocks_usage(storage: &RocksStorage, stats: &mut StoreStats) {
    let usage = storage.usage();
    stats.state_bytes = usage.files;
    stats.memtable_bytes = usage.memtables;
    stats.block_cache_bytes = usage.block_cache;
    stats.table_reader_bytes = usage.table_readers;
}

impl<S: Storage> Store<S> {
    /// A store on other engines: tests and simulation. The engines outlive it, so that it can "crash" and be opened
    /// again.
    pub fn with_engines(
        storage: Arc<S>,
        log: Arc<dyn LogEngine>,
        options: StoreOptions,
    ) -> Result<Arc<Self>, OpenError> {
        Self::start(None, storage, log, options, |_, _| {})
    }

    fn start(
        folder: Option<Folder>,
        storage: Arc<S>,
        log: Arc<dyn LogEngine>,
        options: StoreOptions,
        usage: fn(&S, &mut StoreStats),
    ) -> Result<Arc<Self>, OpenError> {
        let thread_failed = |error| OpenError::Io {
            path: PathBuf::from("thread"),
            error,
        };
        let path = folder.as_ref().map(|folder| folder.path().to_owned());
        let probe = options.free_space.unwrap_or_else(|| match path {
            Some(path) => space::of_volume(path),
            None => Arc::new(|| None),
        });
        let uuid = folder.as_ref().map_or(options.uuid, Folder::uuid);
        let pool_threads = if options.by_hand {
            0
        } else {
            options.read_threads.max(1)
        };
        let has_peers = options.peers.is_some();
        let core = Arc::new(Core {
            storage,
            log,
            groups: Default::default(),
            queue: Queue::default(),
            pool: ReadPool::start(pool_threads).map_err(thread_failed)?,
            space: Space::new(probe, options.reserve_bytes),
            recorder: Recorder::default(),
            now_ms: options.now_ms,
            elapsed: options.elapsed,
            uuid,
            peers: options.peers.unwrap_or_else(|| Arc::new(NoPeers)),
            liveness: Liveness::new(options.seed),
            limits: Limits {
                follower_bytes_max: options.follower_bytes_max,
                chunk_bytes: options.chunk_bytes,
            },
            seed: options.seed,
            on_fatal: options.on_fatal,
            failed: false.into(),
            _folder: folder,
        });
        let recovered = recovery::recover(&core);
        if recovered.is_err() {
            core.close();
        }
        let stored = recovered?;
        let destroyed = stored.iter().filter(|group| group.record.life != Life::Alive);
        let births = Births {
            last: stored.iter().map(|group| group.record.born).max().unwrap_or(0),
            destroyed: destroyed.map(|group| (group.id, group.record.replica)).collect(),
            closed: false,
        };
        let store = Arc::new(Self {
            core,
            births: Mutex::new(births),
            waiting: Waiting::default(),
            by_hand: options.by_hand,
            maintenance: Arc::default(),
            threads: Mutex::default(),
            log_bytes_max: options.log_bytes_max,
            usage,
        });
        if !store.by_hand {
            store.start_threads().map_err(thread_failed)?;
        }
        if has_peers && !store.by_hand {
            store.start_ticker().map_err(thread_failed)?;
        }
        Ok(store)
    }

    fn start_threads(self: &Arc<Self>) -> std::io::Result<()> {
        let core = Arc::clone(&self.core);
        let log_writer = std::thread::Builder::new().name("log-writer".into());
        self.threads.lock().push(log_writer.spawn(move || writer::run(&core))?);
        let (store, maintenance) = (Arc::downgrade(self), Arc::clone(&self.maintenance));
        let thread = std::thread::Builder::new().name("maintenance".into());
        self.threads.lock().push(thread.spawn(move || {
            for round in 1.. {
                let mut stop = maintenance.stop.lock();
                if !*stop {
                    maintenance.wake.wait_for(&mut stop, MAINTENANCE_INTERVAL);
                }
                if *stop {
                    return;
                }
                drop(stop);
                let Some(store) = store.upgrade() else { return };
                store.core.space.look();
                if store.has_much_to_cut() || round % CUT_AFTER_ROUNDS == 0 {
                    store.cut_log();
                }
            }
        })?);
        Ok(())
    }

    /// Lets the groups count time, for as long as the store is open.
    fn start_ticker(self: &Arc<Self>) -> std::io::Result<()> {
        let (store, maintenance) = (Arc::downgrade(self), Arc::clone(&self.maintenance));
        let thread = std::thread::Builder::new().name("ticker".into());
        self.threads.lock().push(thread.spawn(move || {
            loop {
                let mut stop = maintenance.stop.lock();
                if !*stop {
                    maintenance.wake.wait_for(&mut stop, Duration::from_nanos(TICK_NS));
                }
                if *stop {
                    return;
                }
                drop(stop);
                let Some(store) = store.upgrade() else { return };
                store.tick();
            }
        })?);
        Ok(())
    }

    /// The store's identity, made when the folder was first opened.
    pub fn uuid(&self) -> Uuid {
        self.core.uuid
    }

    /// The state's storage.
    pub fn storage(&self) -> &Arc<S> {
        &self.core.storage
    }

    /// A group that serves.
    pub fn group(&self, group: GroupId) -> Option<Arc<Group<S>>> {
        self.core.groups.read().get(&group).cloned()
    }

    /// All groups that serve, by id.
    pub fn groups(&self) -> Vec<Arc<Group<S>>> {
        self.core.groups()
    }

    /// Brings a group to life; durable, and serving, on return. A group that exists already is returned as it is.
    /// Blocks for two syncs.
    ///
    /// # Errors
    /// `WrongRange` for a group that was destroyed: an id is never used again. `OutOfSpace` below the reserve.
    pub fn bootstrap(&self, descriptor: PartitionDescriptor) -> Result<Arc<Group<S>>, Refusal> {
        let mut births = self.births.lock();
        let id = descriptor.group;
        if let Some(group) = self.group(id) {
            return Ok(group);
        }
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping);
        }
        let birth = Birth {
            replica: FIRST_REPLICA,
            members: Members::voters(&[self.core.uuid]),
            start: Truncated::default(),
            coming: Coming::First,
        };
        let group = self.give_birth(&mut births, &descriptor, birth)?;
        group.enqueue();
        let mut applied = group.subscribe();
        if !self.pass_fence() || applied.borrow_and_update().index == 0 {
            return Err(Refusal::Stopping);
        }
        Ok(group)
    }

    /// Brings a group to life that has a replica, and a vote, on each of these stores: to be called on all of them, with
    /// the same list; the first one stands for election at once. A group that exists already is returned as it is.
    ///
    /// # Errors
    /// `WrongRange` for a group that was destroyed here, and when this store is not among them.
    pub fn bootstrap_among(&self, descriptor: PartitionDescriptor, stores: &[Uuid]) -> Result<Arc<Group<S>>, Refusal> {
        if stores == [self.core.uuid] {
            return self.bootstrap(descriptor);
        }
        let mut births = self.births.lock();
        let members = Members::voters(stores);
        let replica = members.on_store(self.core.uuid).ok_or(Refusal::WrongRange)?.replica;
        if let Some(group) = self.group(descriptor.group) {
            return Ok(group);
        }
        let birth = Birth {
            replica,
            members,
            start: BIRTH,
            coming: if replica == FIRST_REPLICA {
                Coming::First
            } else {
                Coming::Born
            },
        };
        self.join(&mut births, &descriptor, birth)
    }

    /// Makes room for a replica that was added to a group (`MemberChange::AddLearner` said which number it has): it waits
    /// for the leader's snapshot. One that exists already is returned as it is.
    ///
    /// # Errors
    /// `WrongRange` for a number that is not above those that the group's replicas had here, or while an older replica is
    /// still here: it has to be destroyed first.
    pub fn admit(&self, descriptor: PartitionDescriptor, replica: ReplicaId) -> Result<Arc<Group<S>>, Refusal> {
        let mut births = self.births.lock();
        if let Some(group) = self.group(descriptor.group) {
            let same = group.record().replica == replica;
            return if same { Ok(group) } else { Err(Refusal::WrongRange) };
        }
        let birth = Birth {
            replica,
            members: Members::default(),
            start: Truncated::default(),
            coming: Coming::Born,
        };
        self.join(&mut births, &descriptor, birth)
    }

    fn join(
        &self,
        births: &mut Births,
        descriptor: &PartitionDescriptor,
        birth: Birth,
    ) -> Result<Arc<Group<S>>, Refusal> {
        let group = self.give_birth(births, descriptor, birth)?;
        group.enqueue();
        self.deliver_waiting(group.id());
        Ok(group)
    }

    fn give_birth(
        &self,
        births: &mut Births,
        descriptor: &PartitionDescriptor,
        birth: Birth,
    ) -> Result<Arc<Group<S>>, Refusal> {
        let id = descriptor.group;
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping);
        }
        if births
            .destroyed
            .get(&id)
            .is_some_and(|tombstone| birth.replica <= *tombstone)
        {
            return Err(Refusal::WrongRange);
        }
        if self.core.space.is_low() {
            return Err(Refusal::OutOfSpace);
        }
        let born = births.last + 1;
        let group = self
            .write_birth(born, descriptor, birth)
            .map_err(|error| self.fail(&error))?;
        births.last = born;
        births.destroyed.remove(&id);
        self.core.groups.write().insert(id, Arc::clone(&group));
        Ok(group)
    }

    fn write_birth(
        &self,
        born: u64,
        descriptor: &PartitionDescriptor,
        birth: Birth,
    ) -> Result<Arc<Group<S>>, RecoveryError> {
        let descriptor_bytes = postcard::to_stdvec(descriptor)
            .map_err(|error| LogError::Engine(format!("encoding a descriptor: {error}")))?;
        let record = GroupRecord {
            born,
            replica: birth.replica,
            members: birth.members,
            start: birth.start,
            descriptor: descriptor_bytes,
            life: Life::Alive,
        };
        let id = descriptor.group;
        let hard_state = HardState {
            term: birth.start.term,
            commit: birth.start.index,
            ..HardState::default()
        };
        let mut batch = vec![LogChange::Record(id, record.clone())];
        if birth.start != Truncated::default() {
            let (group, from, to) = (id, Truncated::default(), birth.start);
            batch.push(LogChange::HardState(id, hard_state.clone()));
            batch.push(LogChange::Truncate { group, from, to });
        }
        self.core.log.write(&batch)?;
        let stored = StoredGroup {
            id,
            record,
            hard_state,
            truncated: birth.start,
            terms: Vec::new(),
            last: birth.start.index,
            bytes: 0,
            installing: None,
        };
        recovery::open_group(&self.core, &stored, birth.coming)
    }

    /// The highest number that a replica of a destroyed group had here.
    pub(crate) fn tombstone(&self, group: GroupId) -> Option<ReplicaId> {
        self.births.lock().destroyed.get(&group).copied()
    }

    /// Ends a group and removes its rows; nothing happens when there is none. Blocks for a flush. Once this has
    /// returned, and also when the process dies on the way behind the first sync, the group never comes back.
    pub fn destroy(&self, id: GroupId) -> Result<(), Refusal> {
        let mut births = self.births.lock();
        let Some(group) = self.group(id) else { return Ok(()) };
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping);
        }
        group.end(Refusal::WrongRange);
        // Behind the fence nothing of the group is on its way to the log or to the state.
        if !self.pass_fence() {
            return Err(Refusal::Stopping);
        }
        let tombstone = GroupRecord {
            descriptor: postcard::to_stdvec(&*group.descriptor()).map_err(|error| self.fail(&error))?,
            life: Life::Destroying,
            ..group.record().clone()
        };
        let entomb = || -> Result<(), RecoveryError> {
            self.core.log.write(&vec![LogChange::Record(id, tombstone.clone())])?;
            recovery::finish_destruction(&self.core, id, &tombstone)
        };
        entomb().map_err(|error| self.fail(&error))?;
        births.destroyed.insert(id, tombstone.replica);
        self.core.groups.write().remove(&id);
        Ok(())
    }

    fn fail(&self, error: &dyn std::fmt::Display) -> Refusal {
        self.core.fail(&error.to_string());
        Refusal::Stopping
    }

    /// Waits until everything queued so far is applied; false when the log writer has ended.
    fn pass_fence(&self) -> bool {
        if self.by_hand {
            return self.turn_until_idle();
        }
        self.core.queue.fence().recv().is_ok() && !self.core.has_failed()
    }

    /// What it counts.
    pub fn stats(&self) -> StoreStats {
        let groups = self.core.groups();
        let mut stats = self.core.recorder.counted();
        stats.groups = groups.len() as u64;
        stats.log_held_bytes = self.log_held_bytes();
        stats.free_bytes = self.core.space.free_bytes();
        stats.out_of_space = self.core.space.is_low();
        (self.usage)(&self.core.storage, &mut stats);
        stats
    }

    /// Looks at the free space now. (It is looked at every second and every few megabytes besides.)
    pub fn look_at_space(&self) {
        self.core.space.look();
    }

    fn log_held_bytes(&self) -> u64 {
        self.core
            .groups()
            .iter()
            .map(|group| group.replica.lock().log_bytes())
            .sum()
    }

    fn has_much_to_cut(&self) -> bool {
        let written = self.core.recorder.counted().log_bytes;
        written - self.maintenance.log_bytes_seen.load(Ordering::Relaxed) >= CUT_AFTER_BYTES
    }

    /// Cuts every group's log below what the state has flushed, after flushing it if the log holds too much. The cut
    /// travels with the next batch.
    pub fn cut_log(&self) {
        let written = self.core.recorder.counted().log_bytes;
        self.maintenance.log_bytes_seen.store(written, Ordering::Relaxed);
        if self.core.has_failed() {
            return;
        }
        if self.log_held_bytes() > self.log_bytes_max
            && let Err(error) = self.core.storage.flush()
        {
            self.fail(&format!("flushing the state: {error}"));
            return;
        }
        for group in self.core.groups() {
            if self.mark_cut(&group) {
                group.enqueue();
            }
        }
    }

    fn mark_cut(&self, group: &Arc<Group<S>>) -> bool {
        match group.reader().flushed_at() {
            Ok(flushed) => {
                let now = self.core.now(std::iter::once(group));
                group.replica.lock().cut(flushed, now)
            }
            Err(error) => {
                tracing::warn!(group = group.id().0, %error, "cannot tell how far the state is flushed");
                false
            }
        }
    }

    /// Refuses new writes, finishes those in flight, flushes the state and cuts the log. Blocks. Reads go on until
    /// the last reference to their group is gone, and so is the folder's lock.
    pub fn shutdown(&self) {
        let mut births = self.births.lock();
        if std::mem::replace(&mut births.closed, true) {
            return;
        }
        let groups = self.core.groups();
        for group in &groups {
            group.replica.lock().refuse(Refusal::Stopping);
        }
        let drained = self.pass_fence();
        self.stop_threads();
        if drained {
            match self.core.storage.flush() {
                Ok(()) => {
                    let cut: Vec<_> = groups.into_iter().filter(|group| self.mark_cut(group)).collect();
                    if let Err(error) = writer::persist(&self.core, &cut) {
                        tracing::warn!(%error, "cutting the log at shutdown");
                    }
                }
                // Nothing is lost: the next start applies the log again.
                Err(error) => tracing::warn!(%error, "flushing the state at shutdown"),
            }
        }
        self.core.close();
    }

    fn stop_threads(&self) {
        *self.maintenance.stop.lock() = true;
        self.maintenance.wake.notify_all();
        self.core.queue.stop();
        for thread in self.threads.lock().drain(..) {
            // Maintenance may be the one that drops the last reference.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl<S: Storage> Drop for Store<S> {
    /// Without [`Store::shutdown`] it is as if the process had died here, but for the memory.
    fn drop(&mut self) {
        self.stop_threads();
        self.core.close();
    }
}
