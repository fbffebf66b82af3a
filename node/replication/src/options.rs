//! What can be set about a store, and why it may not open.

use std::path::PathBuf;
use std::sync::Arc;

use partita_partition::storage::rocks::RocksSettings;
use uuid::Uuid;

use crate::core::{Clock, OnFatal};
use crate::log::LogError;
use crate::message::Peers;
use crate::recovery::RecoveryError;
use crate::space::Probe;
use crate::time::{self, Elapsed};

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
    pub volume: Option<Probe>,
    /// The way to other stores; without one, all groups have a single replica.
    pub peers: Option<Arc<dyn Peers>>,
    /// The clock of elections and leases: `CLOCK_BOOTTIME` by default.
    pub elapsed: Elapsed,
    /// Bytes of log that a group keeps for followers that are behind; beyond, they get a snapshot.
    pub follower_bytes_max: u64,
    /// Rows of a snapshot that travel together.
    pub chunk_bytes: usize,
    /// How fast a snapshot, or old entries, leave for a follower: those who read and write meanwhile should hardly notice.
    pub copy_bytes_per_second: u64,
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
            copy_bytes_per_second: 32 << 20,
            uuid: Uuid::nil(),
            seed: rand::random(),
            by_hand: false,
            volume: None,
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
