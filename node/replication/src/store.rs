//! A data directory: its lock and identity, the state, the log, and the groups that live in it.
//!
//! 1. [`Store::open`] locks the folder, opens log and state and recovers every group ([`crate::recovery`]).
//! 2. Two threads run from then on: the log writer ([`crate::writer`]) and maintenance, which looks at free space and
//!    cuts the log below what the state has flushed.
//! 3. [`Store::bootstrap`] and [`Store::destroy`] make and end groups.
//! 4. [`Store::shutdown`] finishes what is in flight and flushes, so that the next start has nothing to apply.

use std::collections::HashSet;
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
use tokio::sync::watch;
use uuid::Uuid;

use crate::core::{Clock, Core, OnFatal};
use crate::folder::Folder;
use crate::group::Group;
use crate::log::rocks::RocksLog;
use crate::log::{GroupRecord, Life, LogChange, LogEngine, LogError, StoredGroup, Truncated};
use crate::pool::ReadPool;
use crate::queue::Queue;
use crate::recovery::{self, RecoveryError};
use crate::space::{self, FreeSpace, Space};
use crate::stats::{Recorder, StoreStats};
use crate::writer;

/// How often maintenance looks around.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Maintenance asks the groups how far their state is flushed after so many bytes of log, or so many rounds.
const CUT_AFTER_BYTES: u64 = 1 << 20;
const CUT_AFTER_ROUNDS: u32 = 30;
/// The only replica of a group that is born with a single voter.
const FIRST_REPLICA: u64 = 1;

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
    core: Arc<Core<S>>,
    uuid: Uuid,
    births: Mutex<Births>,
    maintenance: Arc<Maintenance>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    log_bytes_max: u64,
    usage: fn(&S, &mut StoreStats),
}

/// What was ever born here.
#[derive(Default)]
struct Births {
    last: u64,
    destroyed: HashSet<GroupId>,
    closed: bool,
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
        let uuid = folder.as_ref().map_or_else(Uuid::nil, Folder::uuid);
        let core = Arc::new(Core {
            storage,
            log,
            groups: Default::default(),
            queue: Queue::default(),
            pool: ReadPool::start(options.read_threads).map_err(thread_failed)?,
            space: Space::new(probe, options.reserve_bytes),
            recorder: Recorder::default(),
            now_ms: options.now_ms,
            changes: watch::Sender::new(0),
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
            destroyed: destroyed.map(|group| group.id).collect(),
            closed: false,
        };
        let store = Arc::new(Self {
            core,
            uuid,
            births: Mutex::new(births),
            maintenance: Arc::default(),
            threads: Mutex::default(),
            log_bytes_max: options.log_bytes_max,
            usage,
        });
        store.start_threads().map_err(thread_failed)?;
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

    /// The store's identity, made when the folder was first opened.
    pub fn uuid(&self) -> Uuid {
        self.uuid
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

    /// Wakes whenever a group has come to life or ended, or one's descriptor (a table's schema, say) has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.core.changes.subscribe()
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
        if births.destroyed.contains(&id) {
            return Err(Refusal::WrongRange);
        }
        if self.core.space.is_low() {
            return Err(Refusal::OutOfSpace);
        }
        let born = births.last + 1;
        let group = self.give_birth(born, &descriptor).map_err(|error| self.fail(&error))?;
        births.last = born;
        self.core.groups.write().insert(id, Arc::clone(&group));
        group.enqueue();
        let mut applied = group.subscribe();
        if !self.pass_fence() || applied.borrow_and_update().index == 0 {
            return Err(Refusal::Stopping);
        }
        self.core.changed();
        Ok(group)
    }

    fn give_birth(&self, born: u64, descriptor: &PartitionDescriptor) -> Result<Arc<Group<S>>, RecoveryError> {
        let descriptor_bytes = postcard::to_stdvec(descriptor)
            .map_err(|error| LogError::Engine(format!("encoding a descriptor: {error}")))?;
        let record = GroupRecord {
            born,
            replica: FIRST_REPLICA,
            voters: vec![FIRST_REPLICA],
            descriptor: descriptor_bytes,
            life: Life::Alive,
        };
        let id = descriptor.group;
        self.core.log.write(&vec![LogChange::Record(id, record.clone())])?;
        recovery::open_group(
            &self.core,
            &StoredGroup {
                id,
                record,
                hard_state: Default::default(),
                truncated: Truncated::default(),
                terms: Vec::new(),
                last: 0,
                bytes: 0,
            },
        )
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
        births.destroyed.insert(id);
        self.core.groups.write().remove(&id);
        self.core.changed();
        Ok(())
    }

    fn fail(&self, error: &dyn std::fmt::Display) -> Refusal {
        self.core.fail(&error.to_string());
        Refusal::Stopping
    }

    /// Waits until everything queued so far is applied; false when the log writer has ended.
    fn pass_fence(&self) -> bool {
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

    fn mark_cut(&self, group: &Group<S>) -> bool {
        match group.reader().flushed_at() {
            Ok(flushed) => group.replica.lock().cut(flushed),
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
