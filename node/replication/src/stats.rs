//! What a store and its groups count, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use partita_partition::descriptor::LogPosition;
use partita_partition::merge::Frozen;
use partita_partition::reader::Counters;

use crate::members::{Members, ReplicaId};

/// Upper bounds of the buckets of [`Histogram`], in microseconds: from half a bare sync on a fast disk to a stalled
/// one.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600, 1_638_400,
];

/// A distribution of latencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Observations at or below each of [`LATENCY_BOUNDS_US`], and above all of them; not cumulative.
    pub buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all observations, in microseconds.
    pub sum_us: u64,
    /// Number of observations.
    pub count: u64,
}

/// A store's counters since it was opened, and its gauges.
#[derive(Debug, Clone, Default)]
pub struct StoreStats {
    /// How long each write and sync of the log took.
    pub log_sync: Histogram,
    /// Bytes written to the log.
    pub log_bytes: u64,
    /// Log entries written.
    pub log_entries: u64,
    /// Effects in those entries: divided by the count of syncs it is the size of a group commit.
    pub log_effects: u64,
    /// How long each apply of a batch took.
    pub apply: Histogram,
    /// Bytes of entries that the log still holds.
    pub log_held_bytes: u64,
    /// Groups that serve.
    pub groups: u64,
    /// Free space of the volume, as last looked at.
    pub free_bytes: u64,
    /// Whether writes are refused for lack of space.
    pub out_of_space: bool,
    /// Size of the state's files.
    pub state_bytes: u64,
    /// Memory of the state's memtables.
    pub memtable_bytes: u64,
    /// Use of the block cache.
    pub block_cache_bytes: u64,
    /// Memory of index and filter blocks of the state's open files.
    pub table_reader_bytes: u64,
    /// Bytes that the state's compactions have still to rewrite, estimated.
    pub compaction_pending_bytes: u64,
    /// Files of the state's first level.
    pub first_level_files: u64,
    /// Flushes and compactions of the state that run.
    pub compactions_running: u64,
    /// Whether RocksDB holds up writes until they are done.
    pub writes_stopped: bool,
}

/// What a group says of itself.
#[derive(Debug, Clone)]
pub struct GroupStats {
    /// Its raft term.
    pub term: u64,
    /// Whether this replica leads.
    pub leader: bool,
    /// This replica's number in the group.
    pub replica: ReplicaId,
    /// The replica that leads, as far as it is known here; 0 when nobody does.
    pub leads: ReplicaId,
    /// The members, as applied here.
    pub members: Arc<Members>,
    /// At the leader: how far the others are.
    pub progress: Vec<Progress>,
    /// The last entry that is known to be committed.
    pub committed: u64,
    /// The term in which it serves as the leader; 0 while it does not.
    pub serving: u64,
    /// Until when its lease lasts, by the store's clock in nanoseconds: 0 without one, `u64::MAX` where nobody else
    /// votes.
    pub lease_until: u64,
    /// Nothing is going on, and time stands still for it.
    pub resting: bool,
    /// The last applied entry.
    pub applied: LogPosition,
    /// Items, bytes, clock.
    pub counters: Counters,
    /// That it stands still, to be absorbed by its neighbour.
    pub frozen: Option<Arc<Frozen>>,
    /// Writes evaluated and not yet applied.
    pub in_flight: u64,
}

/// How far another replica is, as the leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Which one.
    pub replica: ReplicaId,
    /// The last entry it has.
    pub matched: u64,
    /// Whether it was heard of within an election timeout, or rests with the leader.
    pub alive: bool,
}

/// Counts what the log writer does.
#[derive(Default)]
pub(crate) struct Recorder {
    counted: parking_lot::Mutex<StoreStats>,
    last_sync_us: AtomicU64,
}

impl Recorder {
    pub(crate) fn log_written(&self, took: Duration, bytes: u64, entries: u64, effects: u64) {
        self.last_sync_us.store(took.as_micros() as u64, Ordering::Relaxed);
        let mut counted = self.counted.lock();
        counted.log_sync.observe(took);
        counted.log_bytes += bytes;
        counted.log_entries += entries;
        counted.log_effects += effects;
    }

    /// How long the log's last write and sync took.
    pub(crate) fn last_sync(&self) -> Duration {
        Duration::from_micros(self.last_sync_us.load(Ordering::Relaxed))
    }

    pub(crate) fn applied(&self, took: Duration) {
        self.counted.lock().apply.observe(took);
    }

    /// The counters; gauges are the caller's to fill in.
    pub(crate) fn counted(&self) -> StoreStats {
        self.counted.lock().clone()
    }
}

impl Histogram {
    fn observe(&mut self, took: Duration) {
        let us = took.as_micros() as u64;
        self.buckets[LATENCY_BOUNDS_US.partition_point(|bound| *bound < us)] += 1;
        self.sum_us += us;
        self.count += 1;
    }
}
