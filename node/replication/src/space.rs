//! Free space of the store's volume: below the reserve writes are refused, so that what is in flight, flushes and
//! compactions still find room. Looked at between writes, never by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The log writer looks again after writing so much; the maintenance thread looks every second besides.
const LOOK_EVERY_BYTES: u64 = 16 << 20;

/// The store's volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// What this process may still write.
    pub free_bytes: u64,
    /// What it holds when it is full.
    pub total_bytes: u64,
}

/// Looks at the store's volume; `None` when it cannot be told.
pub type Probe = Arc<dyn Fn() -> Option<Volume> + Send + Sync>;

/// See the module's header.
pub(crate) struct Space {
    probe: Probe,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    total_bytes: AtomicU64,
    low: AtomicBool,
    written_since: AtomicU64,
}

impl Space {
    pub(crate) fn new(probe: Probe, reserve_bytes: u64) -> Self {
        let space = Self {
            probe,
            reserve_bytes,
            free_bytes: AtomicU64::new(u64::MAX),
            total_bytes: AtomicU64::new(0),
            low: AtomicBool::new(false),
            written_since: AtomicU64::new(0),
        };
        space.look();
        space
    }

    /// Whether writes are to be refused.
    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// The volume when it was last looked at, if there is one.
    pub(crate) fn volume(&self) -> Option<Volume> {
        let total_bytes = self.total_bytes.load(Ordering::Relaxed);
        (total_bytes != 0).then(|| Volume {
            free_bytes: self.free_bytes(),
            total_bytes,
        })
    }

    /// Counts what was written and looks again when it is enough.
    pub(crate) fn note_written(&self, bytes: u64) {
        if self.written_since.fetch_add(bytes, Ordering::Relaxed) + bytes >= LOOK_EVERY_BYTES {
            self.look();
        }
    }

    /// Looks at the volume.
    pub(crate) fn look(&self) {
        self.written_since.store(0, Ordering::Relaxed);
        let Some(volume) = (self.probe)() else { return };
        let free = volume.free_bytes;
        self.free_bytes.store(free, Ordering::Relaxed);
        self.total_bytes.store(volume.total_bytes, Ordering::Relaxed);
        let low = free < self.reserve_bytes;
        if self.low.swap(low, Ordering::Relaxed) != low {
            let reserve = self.reserve_bytes;
            if low {
                tracing::error!(
                    free,
                    reserve,
                    "the volume is below its reserve of free space: writes are refused"
                );
            } else {
                tracing::info!(free, reserve, "the volume has room again: writes go on");
            }
        }
    }
}

/// The probe of a real folder: what an unprivileged process may still use.
pub(crate) fn of_volume(path: std::path::PathBuf) -> Probe {
    Arc::new(move || {
        let volume = nix::sys::statvfs::statvfs(&path).ok()?;
        let block = volume.fragment_size() as u64;
        let free_bytes = volume.blocks_available() as u64 * block;
        // What only root may use is neither free nor used by this process's data.
        let kept = (volume.blocks_free() as u64).saturating_sub(volume.blocks_available() as u64) * block;
        Some(Volume {
            free_bytes,
            total_bytes: (volume.blocks() as u64 * block).saturating_sub(kept),
        })
    })
}
