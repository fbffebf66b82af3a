//! What the machine and RocksDB can do without us: measured beside the servers, in the same run and the same folder.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rocksdb::{DB, Options, WriteOptions};

use crate::work::PAYLOAD_BYTES;

/// A page: the least that a sync writes.
const SYNC_BLOCK_BYTES: usize = 4096;
/// The synced file is written round and round within this size, allocated beforehand: the kindest case.
const SYNC_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Between two looks at the clock.
const OPERATIONS_PER_LOOK: u64 = 64;

/// One fdatasync after another.
pub struct Syncs {
    file: File,
    at: u64,
}

impl Syncs {
    /// A file of its own in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("fdatasync");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let block = vec![1; 1024 * 1024];
        for index in 0..SYNC_FILE_BYTES / block.len() as u64 {
            file.write_all_at(&block, index * block.len() as u64)?;
        }
        file.sync_all()?;
        Ok(Syncs { file, at: 0 })
    }

    /// The median, in seconds, of writing a page and syncing it.
    pub fn median(&mut self, duration: Duration) -> Result<f64> {
        let mut histogram = Histogram::<u64>::new(3)?;
        let block = [2; SYNC_BLOCK_BYTES];
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            let began = Instant::now();
            self.file.write_all_at(&block, self.at)?;
            // SAFETY: the descriptor is the file's own.
            let synced = unsafe { libc::fdatasync(self.file.as_raw_fd()) };
            ensure!(synced == 0, "fdatasync: {}", std::io::Error::last_os_error());
            histogram.record(began.elapsed().as_nanos() as u64)?;
            self.at = (self.at + SYNC_BLOCK_BYTES as u64) % SYNC_FILE_BYTES;
        }
        Ok(histogram.value_at_quantile(0.5) as f64 / 1e9)
    }
}

/// RocksDB called directly, one thread.
pub struct Rocks {
    database: DB,
    keys: usize,
    rng: SmallRng,
    value: Vec<u8>,
}

impl Rocks {
    /// Opens and fills a database in `folder`.
    pub fn open(folder: &Path, keys: usize) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.optimize_for_point_lookup(256);
        let database = DB::open(&options, folder.join("rocksdb"))?;
        let value = vec![b'v'; PAYLOAD_BYTES];
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        for index in 0..keys {
            database.put_opt(key(index), &value, &unlogged)?;
        }
        database.flush()?;
        Ok(Rocks {
            database,
            keys,
            rng: SmallRng::seed_from_u64(1),
            value,
        })
    }

    /// Point look-ups a second.
    pub fn gets(&mut self, duration: Duration) -> Result<f64> {
        self.measure(duration, |rocks| {
            let index = rocks.rng.random_range(0..rocks.keys);
            let found = rocks.database.get_pinned(key(index))?;
            ensure!(
                found.is_some_and(|value| value.len() == PAYLOAD_BYTES),
                "key {index} is missing"
            );
            Ok(())
        })
    }

    /// Puts a second without log and sync.
    pub fn puts(&mut self, duration: Duration) -> Result<f64> {
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        self.measure(duration, |rocks| {
            let index = rocks.rng.random_range(0..rocks.keys);
            Ok(rocks.database.put_opt(key(index), &rocks.value, &unlogged)?)
        })
    }

    fn measure(&mut self, duration: Duration, mut once: impl FnMut(&mut Self) -> Result<()>) -> Result<f64> {
        let began = Instant::now();
        let mut done = 0;
        while began.elapsed() < duration {
            for _ in 0..OPERATIONS_PER_LOOK {
                once(self)?;
            }
            done += OPERATIONS_PER_LOOK;
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }
}

fn key(index: usize) -> [u8; 8] {
    // Spread, as hashed keys are.
    (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}
