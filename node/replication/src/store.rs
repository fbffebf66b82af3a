//! A data directory: its lock and identity, the state, the log, and the groups that live in it.
//!
//! 1. [`Store::open`] locks the folder, opens log and state and recovers every group ([`crate::recovery`]).
//! 2. Two threads run from then on: the log writer ([`crate::writer`]) and maintenance, which looks at free space and
//!    cuts the log below what the state has flushed.
//! 3. [`Store::bootstrap`] and [`Store::destroy`] make and end groups ([`crate::births`]).
//! 4. [`Store::shutdown`] finishes what is in flight and flushes, so that the next start has nothing to apply.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use partita_model::request::Refusal;
use partita_partition::descriptor::GroupId;
use partita_partition::merge::MergeDone;
use partita_partition::split::SplitDone;
use partita_partition::storage::Storage;
use partita_partition::storage::rocks::RocksStorage;
use tokio::sync::watch;
use uuid::Uuid;

use crate::births::Births;
use crate::core::Core;
use crate::courier::Courier;
use crate::folder::Folder;
use crate::group::Group;
use crate::group::merge::{Freeze, MergeError, MergeRequest};
use crate::group::split::{SplitError, SplitRequest};
use crate::liveness::Liveness;
use crate::log::LogEngine;
use crate::log::rocks::RocksLog;
use crate::message::NoPeers;
pub use crate::options::{OpenError, StoreOptions};
use crate::pool::ReadPool;
use crate::postbox::Waiting;
use crate::queue::Queue;
use crate::recovery;
use crate::replica::Limits;
use crate::space::{self, Space, Volume};
use crate::stats::{Recorder, StoreStats};
use crate::time::{ELECTION_NS, TICK_NS};
use crate::writer;

/// How often maintenance looks around.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Maintenance asks the groups how far their state is flushed after so many bytes of log, or so many rounds.
const CUT_AFTER_BYTES: u64 = 1 << 20;
const CUT_AFTER_ROUNDS: u32 = 30;
/// A hand-over takes a few round trips; it is looked at this often.
const HAND_OVER_POLL: Duration = Duration::from_millis(1);
/// A data directory that is open.
pub struct Store<S: Storage = RocksStorage> {
    pub(crate) core: Arc<Core<S>>,
    pub(crate) births: Mutex<Births>,
    by_hand: bool,
    maintenance: Arc<Maintenance>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    log_bytes_max: u64,
    usage: fn(&S, &mut StoreStats),
}

/// Wakes the maintenance thread for its end, and remembers when it last cut.
#[derive(Default)]
struct Maintenance {
    stop: Mutex<bool>,
    wake: Condvar,
    log_bytes_seen: AtomicU64,
    /// One more than the bytes that had been written at the last flush for the log's sake; 0 before the first.
    log_bytes_flushed: AtomicU64,
}

impl Maintenance {
    /// Whether a flush lets go of much log: what is kept for followers does not go away by another one.
    fn may_flush(&self, written: u64, log_bytes_max: u64) -> bool {
        let flushed = self.log_bytes_flushed.load(Ordering::Relaxed);
        let much = flushed == 0 || written - (flushed - 1) >= log_bytes_max / 2;
        if much {
            self.log_bytes_flushed.store(written + 1, Ordering::Relaxed);
        }
        much
    }
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
    stats.compaction_pending_bytes = usage.to_compact;
    stats.first_level_files = usage.first_level_files;
    stats.compactions_running = usage.running;
    stats.writes_stopped = usage.stopped > 0;
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
        let probe = options.volume.unwrap_or_else(|| match path {
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
            ledger: Mutex::default(),
            merging: Mutex::default(),
            waiting: Waiting::default(),
            queue: Queue::default(),
            pool: ReadPool::start(pool_threads).map_err(thread_failed)?,
            courier: Courier::start(Arc::clone(&options.elapsed), options.by_hand || !has_peers)
                .map_err(thread_failed)?,
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
                copy_bytes_per_second: options.copy_bytes_per_second,
            },
            seed: options.seed,
            changes: watch::Sender::new(0),
            on_fatal: options.on_fatal,
            failed: false.into(),
            _folder: folder,
        });
        let recovered = recovery::recover(&core);
        if recovered.is_err() {
            core.close();
        }
        recovered?;
        let store = Arc::new(Self {
            core,
            births: Mutex::default(),
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
        self.core.group(group)
    }

    /// All groups that serve, by id.
    pub fn groups(&self) -> Vec<Arc<Group<S>>> {
        self.core.groups()
    }

    /// Wakes whenever a group has come to life or ended, or one's descriptor (a table's schema, say) has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.core.changes.subscribe()
    }

    pub(crate) fn fail(&self, error: &dyn std::fmt::Display) -> Refusal {
        self.core.fail(&error.to_string());
        Refusal::Stopping
    }

    /// Waits until everything queued so far is applied; false when the log writer has ended.
    pub(crate) fn pass_fence(&self) -> bool {
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

    /// The store's volume, if it is on one.
    pub fn volume(&self) -> Option<Volume> {
        self.core.space.volume()
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
            && self.maintenance.may_flush(written, self.log_bytes_max)
            && let Err(error) = self.core.storage.flush()
        {
            self.fail(&format!("flushing the state: {error}"));
            return;
        }
        if let Err(error) = self.core.bury_absorbed() {
            self.fail(&error);
            return;
        }
        for group in self.core.groups() {
            if self.mark_cut(&group) {
                group.enqueue();
            }
        }
    }

    /// Cuts a partition in two, at the leader, once for each id: see [`Group::split`].
    ///
    /// # Errors
    /// `WrongRange` for a group that is not here, and what [`Group::split`] says.
    pub async fn split(&self, group: GroupId, request: SplitRequest) -> Result<SplitDone, SplitError> {
        let group = self.group(group).ok_or(Refusal::WrongRange)?;
        group.split(request).await
    }

    /// Makes a merge's source stand still, at its leader, once for each id: see [`Group::freeze`].
    ///
    /// # Errors
    /// `WrongRange` for a group that is not here, and what [`Group::freeze`] says.
    pub async fn freeze(&self, request: MergeRequest) -> Result<Freeze, MergeError> {
        let source = self.group(request.source).ok_or(Refusal::WrongRange)?;
        source.freeze(request).await
    }

    /// Makes a partition and its frozen neighbour one, at the leader of the one that absorbs, once for each id: see
    /// [`Group::merge`].
    ///
    /// # Errors
    /// `WrongRange` for a group that is not here, and what [`Group::merge`] says.
    pub async fn merge(&self, request: MergeRequest) -> Result<MergeDone, MergeError> {
        let absorber = self.group(request.absorber).ok_or(Refusal::WrongRange)?;
        absorber.merge(request).await
    }

    /// Gives a merge up, at the leader of the one that would absorb, unless it is decided: see [`Group::refuse_merge`].
    ///
    /// # Errors
    /// `WrongRange` for a group that is not here, and what [`Group::refuse_merge`] says.
    pub async fn refuse_merge(&self, request: MergeRequest) -> Result<MergeDone, MergeError> {
        let absorber = self.group(request.absorber).ok_or(Refusal::WrongRange)?;
        absorber.refuse_merge(request).await
    }

    /// Lets the source of a refused merge go on, at its leader: see [`Group::thaw`].
    ///
    /// # Errors
    /// `WrongRange` for a group that is not here, and what [`Group::thaw`] says.
    pub async fn thaw(&self, request: MergeRequest, decided: &MergeDone) -> Result<(), MergeError> {
        let source = self.group(request.source).ok_or(Refusal::WrongRange)?;
        source.thaw(request, decided).await
    }

    fn mark_cut(&self, group: &Arc<Group<S>>) -> bool {
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
        self.hand_over(&groups);
        self.stop_threads();
        if drained {
            match self.core.flush_and_bury() {
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

    /// Groups that are led from here are led from elsewhere before this returns, unless nobody takes them over within an
    /// election timeout.
    fn hand_over(&self, groups: &[Arc<Group<S>>]) {
        let now = (self.core.elapsed)();
        let mut led: Vec<_> = groups.iter().filter(|group| group.has_peers()).collect();
        led.retain(|group| group.with_turn(|replica| replica.hand_over(now)));
        let deadline = Instant::now() + Duration::from_nanos(ELECTION_NS);
        while !led.is_empty() && Instant::now() < deadline && !self.by_hand {
            std::thread::sleep(HAND_OVER_POLL);
            led.retain(|group| group.replica.lock().is_leader());
        }
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
