//! A machine: a clock, a disk, and a process with a store that may be up or down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use partita_partition::descriptor::GroupId;
use partita_partition::storage::memory::MemoryStorage;
use partita_replication::by_hand::{Gathered, Synced};
use partita_replication::log::LogEngine as _;
use partita_replication::log::memory::{Fault, MemoryLog};
use partita_replication::{Group, Peers, Store, StoreOptions};
use rand::Rng as _;
use rand::rngs::SmallRng;
use uuid::Uuid;

use crate::table::has;

/// Bytes of log kept for followers: little, so that snapshots are needed. It is drawn which.
const FOLLOWER_BYTES_MAX: [u64; 3] = [0, 1 << 10, 4 << 10];
/// Rows of a snapshot that travel together: few, so that there are several chunks.
const CHUNK_BYTES: usize = 200;

/// What has been handed to the network and is not on its way yet.
pub type Sent = Arc<Mutex<Vec<(usize, Uuid, Bytes)>>>;

/// A process's end of the network.
struct Wire {
    from: usize,
    sent: Sent,
}

impl Peers for Wire {
    fn send(&self, to: Uuid, frames: Bytes) {
        self.sent.lock().push((self.from, to, frames));
    }
}

/// How the machines of a run are used: the same for all of them.
#[derive(Clone, Copy)]
pub struct Habits {
    follower_bytes_max: u64,
    /// Of a hundred times so often the state is flushed when it might be.
    pub flushing: u32,
    /// Of ten times so often there is room at once for a replica that was added.
    pub admitting: u32,
}

impl Habits {
    pub fn draw(random: &mut SmallRng) -> Self {
        Self {
            follower_bytes_max: FOLLOWER_BYTES_MAX[random.random_range(0..FOLLOWER_BYTES_MAX.len())],
            flushing: [33, 33, 5][random.random_range(0..3)],
            admitting: [10, 10, 1][random.random_range(0..3)],
        }
    }
}

/// Where the log writer's turn stands.
#[derive(Default)]
pub enum Turn {
    #[default]
    Idle,
    Gathered(Gathered<MemoryStorage>),
    Synced(Synced<MemoryStorage>),
}

pub struct Machine {
    pub number: usize,
    pub uuid: Uuid,
    pub log: Arc<MemoryLog>,
    pub state: Arc<MemoryStorage>,
    pub store: Option<Arc<Store<MemoryStorage>>>,
    pub turn: Turn,
    /// Counts the starts: events of an earlier process are void.
    pub incarnation: u64,
    /// The process is stopped (and its clock runs on) until then.
    pub stopped_until: u64,
    /// The state takes nothing until then: only the log goes on.
    pub stalled_until: u64,
    /// Nobody counts time there until then; all else goes on.
    pub uncounted_until: u64,
    /// What was said when the process ended by itself.
    pub deaths: Arc<Mutex<Vec<String>>>,
    habits: Habits,
    clock: Arc<AtomicU64>,
    /// The clock runs so many parts in ten thousand fast (or slow), since this real time, from this value on.
    drift: i64,
    since: (u64, u64),
    sent: Sent,
}

impl Machine {
    pub fn new(number: usize, drift: i64, habits: Habits, sent: &Sent) -> Self {
        Self {
            number,
            uuid: uuid_of(number),
            log: Arc::default(),
            state: Arc::default(),
            store: None,
            turn: Turn::Idle,
            incarnation: 0,
            stopped_until: 0,
            stalled_until: 0,
            uncounted_until: 0,
            deaths: Arc::default(),
            habits,
            clock: Arc::default(),
            drift,
            since: (0, 1_000_000_000 * (number as u64 + 1)),
            sent: Arc::clone(sent),
        }
    }

    /// Its clock's time at this real time.
    pub fn local(&self, now: u64) -> u64 {
        let passed = (now - self.since.0) as i128;
        let local = passed + passed * i128::from(self.drift) / 10_000;
        self.since.1 + local as u64
    }

    pub fn set_clock(&self, now: u64) {
        self.clock.store(self.local(now), Ordering::SeqCst);
    }

    /// From now on the clock runs at another pace.
    pub fn drift(&mut self, now: u64, drift: i64) {
        self.since = (now, self.local(now));
        self.drift = drift;
    }

    pub fn start(&mut self, now: u64, seed: u64) {
        self.set_clock(now);
        self.incarnation += 1;
        (self.stopped_until, self.stalled_until, self.uncounted_until) = (0, 0, 0);
        let (clock, deaths) = (Arc::clone(&self.clock), Arc::clone(&self.deaths));
        let options = StoreOptions {
            peers: Some(Arc::new(Wire {
                from: self.number,
                sent: Arc::clone(&self.sent),
            })),
            elapsed: Arc::new(move || clock.load(Ordering::SeqCst)),
            now_ms: Arc::new(|| 1_750_000_000_000),
            follower_bytes_max: self.habits.follower_bytes_max,
            chunk_bytes: CHUNK_BYTES,
            uuid: self.uuid,
            seed,
            by_hand: true,
            on_fatal: Arc::new(move |reason| deaths.lock().push(reason.to_owned())),
            ..StoreOptions::default()
        };
        let start = || Store::with_engines(Arc::clone(&self.state), Arc::clone(&self.log) as _, options.clone());
        let started = start().or_else(|error| {
            // The disk may fail once more while the store recovers; then it is started again.
            assert!(
                error.to_string().contains("injected"),
                "machine {}: {error}",
                self.number
            );
            self.deaths.lock().clear();
            self.state.crash();
            self.log.recover();
            start()
        });
        self.store = Some(started.unwrap_or_else(|error| panic!("machine {} does not start: {error}", self.number)));
    }

    /// The process dies: what was not synced is lost, and so is what was not flushed. Of a write that is under way nobody
    /// knows.
    pub fn crash(&mut self, keep_write: bool) {
        if let (Turn::Gathered(gathered), Some(store)) = (std::mem::take(&mut self.turn), &self.store)
            && keep_write
        {
            self.log.fail_at(self.log.writes() + 1, Fault::Kept);
            drop(store.sync(gathered));
            // What it would have sent after that was never sent.
            self.sent.lock().clear();
        }
        self.deaths.lock().clear();
        self.store = None;
        self.state.crash();
        self.log.recover();
    }

    /// Whether nothing waits to be written.
    pub fn is_idle(&self) -> bool {
        self.turn_is_idle() && self.store.as_ref().is_some_and(|store| !store.has_work())
    }

    /// Whether a snapshot has taken some group's place in the log, and not in the state.
    pub fn is_installing(&self) -> bool {
        let groups = self.log.groups().unwrap();
        groups.iter().any(|group| group.installing.is_some())
    }

    pub fn turn_is_idle(&self) -> bool {
        matches!(self.turn, Turn::Idle)
    }

    pub fn is_up(&self) -> bool {
        self.store.is_some()
    }

    /// The group here that has a key, as far as is known here.
    pub fn group_with(&self, key: usize) -> Option<GroupId> {
        let groups = self.store.as_ref()?.groups();
        let found = groups.iter().find(|group| has(&group.descriptor(), key));
        found.map(|group| group.id())
    }

    pub fn group(&self, id: GroupId) -> Option<Arc<Group<MemoryStorage>>> {
        self.store.as_ref()?.group(id)
    }
}

pub fn uuid_of(number: usize) -> Uuid {
    Uuid::from_u128(0xA000 + number as u128)
}
