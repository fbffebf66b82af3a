//! RocksDB: one database per store, a column family per [`Family`].
//!
//! 1. Writes go to memtables only; the replicated log is the write-ahead log. `atomic_flush` keeps all families at one
//!    moment, so a crash falls back to the last flush, whole.
//! 2. Reads verify checksums. A block that does not fit is an error with its file's name, never data.
//! 3. Memory has a budget: memtables (which also bounds what a start after a crash has to apply again) and block cache
//!    are settings; index and filter blocks stay in memory with their files (about 5 MB per GB of 1 KiB items).

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBPinnableSlice,
    DBRawIterator, DataBlockIndexType, Error, ErrorKind, FlushOptions, LogLevel, Options, ReadOptions, ReadTier,
    SnapshotWithThreadMode, WriteBatch, WriteOptions,
};

use super::{Batch, Cursor, Family, Row, Storage, StorageError, Tier, View};

/// Memtables of all families together, by default: a few seconds of writes, applied again within a second after a
/// crash.
const MEMTABLE_BYTES: usize = 32 << 20;
/// Uncompressed blocks kept for reads, by default. Allocated as it fills.
const BLOCK_CACHE_BYTES: usize = 256 << 20;
/// What one block holds: small enough that a point read of a cold 1 KiB item does not unpack much more than that.
const BLOCK_BYTES: usize = 8 << 10;
/// Bits per key of the whole-key filters: one false positive in a hundred.
const BLOOM_BITS: f64 = 10.0;
/// Memtables allocate in steps of this: small, because most families of most stores hold little.
const ARENA_BYTES: usize = 256 << 10;
/// The part of a memtable that its own whole-key filter takes.
const MEMTABLE_BLOOM_RATIO: f64 = 0.02;
/// Whoever reads once and in order has so much read ahead: a snapshot's chunk.
const READAHEAD_BYTES: usize = 256 << 10;
/// RocksDB's own text log: one file of at most so many bytes, and a predecessor.
const INFO_LOG_BYTES: usize = 1 << 20;

/// Settings of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RocksSettings {
    /// The block cache's capacity.
    pub block_cache_bytes: usize,
    /// Memtables of all families together are flushed at this size.
    pub memtable_bytes: usize,
}

impl Default for RocksSettings {
    fn default() -> Self {
        Self {
            block_cache_bytes: BLOCK_CACHE_BYTES,
            memtable_bytes: MEMTABLE_BYTES,
        }
    }
}

/// What a store uses, in bytes unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Live table files.
    pub files: u64,
    /// Memtables.
    pub memtables: u64,
    /// The block cache.
    pub block_cache: u64,
    /// Index and filter blocks of open files.
    pub table_readers: u64,
    /// Bytes that compactions have still to rewrite, estimated.
    pub to_compact: u64,
    /// Table files of the first level: many of them slow reads down, and then writes.
    pub first_level_files: u64,
    /// Flushes and compactions that run.
    pub running: u64,
    /// 1 while writes are held up.
    pub stopped: u64,
}

/// A store on disk.
pub struct RocksStorage {
    db: Arc<DB>,
    cache: Cache,
    in_memory: ReadOptions,
    all: ReadOptions,
    passing: ReadOptions,
    persisted: ReadOptions,
    unlogged: WriteOptions,
}

impl std::fmt::Debug for RocksStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStorage").field("path", &self.db.path()).finish()
    }
}

impl RocksStorage {
    /// Opens the store in a folder, creating it if need be.
    pub fn open(path: &Path, settings: RocksSettings) -> Result<Self, StorageError> {
        let cache = Cache::new_lru_cache(settings.block_cache_bytes);
        let families = Family::ALL
            .map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache, settings)));
        let db = DB::open_cf_descriptors(&database_options(settings), path, families).map_err(storage_error)?;
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        Ok(Self {
            db: Arc::new(db),
            cache,
            in_memory: read_options(Tier::BlockCacheOnly),
            all: read_options(Tier::All),
            passing: read_options(Tier::Passing),
            persisted: read_options(Tier::Persisted),
            unlogged,
        })
    }

    /// What the store uses.
    pub fn usage(&self) -> Usage {
        let sum = |property: &str| {
            Family::ALL
                .iter()
                .filter_map(|family| self.db.cf_handle(family.name()))
                .filter_map(|handle| self.db.property_int_value_cf(handle, property).ok().flatten())
                .sum()
        };
        let one = |property: &str| self.db.property_int_value(property).ok().flatten().unwrap_or_default();
        Usage {
            files: sum("rocksdb.live-sst-files-size"),
            memtables: sum("rocksdb.cur-size-all-mem-tables"),
            block_cache: self.cache.get_usage() as u64,
            table_readers: sum("rocksdb.estimate-table-readers-mem"),
            to_compact: sum("rocksdb.estimate-pending-compaction-bytes"),
            first_level_files: sum("rocksdb.num-files-at-level0"),
            // These two are the database's: each family says the same.
            running: one("rocksdb.num-running-flushes") + one("rocksdb.num-running-compactions"),
            stopped: one("rocksdb.is-write-stopped"),
        }
    }

    fn read_options(&self, tier: Tier) -> &ReadOptions {
        match tier {
            Tier::BlockCacheOnly => &self.in_memory,
            Tier::All => &self.all,
            Tier::Passing => &self.passing,
            Tier::Persisted => &self.persisted,
        }
    }
}

fn database_options(settings: RocksSettings) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(settings.memtable_bytes);
    options.set_max_background_jobs(2);
    options.set_max_open_files(-1);
    options.set_bytes_per_sync(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_keep_log_file_num(2);
    options
}

fn family_options(family: Family, cache: &Cache, settings: RocksSettings) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_format_version(6);
    table.set_cache_index_and_filter_blocks(false);
    let mut options = Options::default();
    options.set_write_buffer_size(settings.memtable_bytes);
    options.set_max_write_buffer_number(3);
    options.set_arena_block_size(ARENA_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    match family {
        // Point reads, most of them of keys that are there or of new keys.
        Family::Items | Family::LocalIndexes | Family::Meta => {
            table.set_bloom_filter(BLOOM_BITS, false);
            table.set_whole_key_filtering(true);
            table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
        }
        // Only ever scanned.
        Family::Expiry | Family::Changes => {}
    }
    options.set_block_based_table_factory(&table);
    options
}

fn read_options(tier: Tier) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_read_tier(match tier {
        Tier::BlockCacheOnly => ReadTier::BlockCache,
        Tier::All | Tier::Passing => ReadTier::All,
        Tier::Persisted => ReadTier::Persisted,
    });
    if tier == Tier::Passing {
        options.fill_cache(false);
        options.set_readahead_size(READAHEAD_BYTES);
    }
    options
}

/// RocksDB's errors are texts; a corruption's ends in `… in <file> offset <n> size <n>`.
fn storage_error(error: Error) -> StorageError {
    match error.kind() {
        ErrorKind::Incomplete => StorageError::NotCached,
        ErrorKind::Corruption => StorageError::Corrupt {
            file: corrupt_file(error.as_ref()).to_owned(),
            message: error.into_string(),
        },
        _ => StorageError::Io(error.into_string()),
    }
}

fn corrupt_file(message: &str) -> &str {
    let is_file = |word: &&str| word.contains('/') || word.ends_with(".sst");
    message
        .split([' ', ','])
        .map(|word| word.trim_matches([':', ';', '"', '\'']))
        .find(is_file)
        .unwrap_or("unknown file")
}

fn handle(db: &DB, family: Family) -> Result<&ColumnFamily, StorageError> {
    db.cf_handle(family.name())
        .ok_or_else(|| StorageError::Io(format!("column family {} is missing", family.name())))
}

/// A scan's read options: RocksDB's bounds are an inclusive lower and an exclusive upper one.
fn scan_options(range: (Bound<&[u8]>, Bound<&[u8]>), tier: Tier) -> Result<ReadOptions, StorageError> {
    if tier == Tier::Persisted {
        return Err(StorageError::Io(
            "a scan cannot be limited to what is flushed".to_owned(),
        ));
    }
    let behind = |key: &[u8]| {
        let mut bound = Vec::with_capacity(key.len() + 1);
        bound.extend_from_slice(key);
        bound.push(0);
        bound
    };
    let mut options = read_options(tier);
    match range.0 {
        Bound::Included(key) => options.set_iterate_lower_bound(key),
        Bound::Excluded(key) => options.set_iterate_lower_bound(behind(key)),
        Bound::Unbounded => {}
    }
    match range.1 {
        Bound::Included(key) => options.set_iterate_upper_bound(behind(key)),
        Bound::Excluded(key) => options.set_iterate_upper_bound(key),
        Bound::Unbounded => {}
    }
    Ok(options)
}

/// A scan.
pub struct RocksCursor<'a> {
    rows: DBRawIterator<'a>,
    reverse: bool,
    started: bool,
}

impl<'a> RocksCursor<'a> {
    fn new(rows: DBRawIterator<'a>, reverse: bool) -> Self {
        Self {
            rows,
            reverse,
            started: false,
        }
    }
}

impl Cursor for RocksCursor<'_> {
    fn next(&mut self) -> Result<Option<Row<'_>>, StorageError> {
        match (self.started, self.reverse) {
            (false, false) => self.rows.seek_to_first(),
            (false, true) => self.rows.seek_to_last(),
            (true, _) if !self.rows.valid() => {}
            (true, false) => self.rows.next(),
            (true, true) => self.rows.prev(),
        }
        self.started = true;
        if !self.rows.valid() {
            self.rows.status().map_err(storage_error)?;
        }
        Ok(self.rows.item())
    }
}

impl View for RocksStorage {
    type Value<'a> = DBPinnableSlice<'a>;
    type Cursor<'a> = RocksCursor<'a>;

    fn get(&self, family: Family, key: &[u8], tier: Tier) -> Result<Option<DBPinnableSlice<'_>>, StorageError> {
        self.db
            .get_pinned_cf_opt(handle(&self.db, family)?, key, self.read_options(tier))
            .map_err(storage_error)
    }

    fn scan(
        &self,
        family: Family,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        tier: Tier,
    ) -> Result<RocksCursor<'_>, StorageError> {
        let options = scan_options(range, tier)?;
        let rows = self.db.raw_iterator_cf_opt(handle(&self.db, family)?, options);
        Ok(RocksCursor::new(rows, reverse))
    }
}

/// The state at one moment.
pub struct RocksSnapshot<'a> {
    db: &'a DB,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl View for RocksSnapshot<'_> {
    type Value<'a>
        = DBPinnableSlice<'a>
    where
        Self: 'a;
    type Cursor<'a>
        = RocksCursor<'a>
    where
        Self: 'a;

    fn get(&self, family: Family, key: &[u8], tier: Tier) -> Result<Option<DBPinnableSlice<'_>>, StorageError> {
        self.snapshot
            .get_pinned_cf_opt(handle(self.db, family)?, key, read_options(tier))
            .map_err(storage_error)
    }

    fn scan(
        &self,
        family: Family,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        tier: Tier,
    ) -> Result<RocksCursor<'_>, StorageError> {
        let options = scan_options(range, tier)?;
        let rows = self.snapshot.raw_iterator_cf_opt(handle(self.db, family)?, options);
        Ok(RocksCursor::new(rows, reverse))
    }
}

/// The state at one moment, for as long as it is kept.
pub struct RocksPinned {
    /// Released before `db` is: fields are dropped in order.
    snapshot: SnapshotWithThreadMode<'static, DB>,
    db: Arc<DB>,
}

impl RocksPinned {
    fn new(db: &Arc<DB>) -> Self {
        let snapshot = db.snapshot();
        // SAFETY: the snapshot borrows the `DB` behind the `Arc`, which this value keeps alive, at the same address, until
        // after the snapshot is dropped. The longer lifetime never leaves this value.
        let snapshot = unsafe {
            std::mem::transmute::<SnapshotWithThreadMode<'_, DB>, SnapshotWithThreadMode<'static, DB>>(snapshot)
        };
        let db = Arc::clone(db);
        Self { snapshot, db }
    }
}

impl View for RocksPinned {
    type Value<'a> = DBPinnableSlice<'a>;
    type Cursor<'a> = RocksCursor<'a>;

    fn get(&self, family: Family, key: &[u8], tier: Tier) -> Result<Option<DBPinnableSlice<'_>>, StorageError> {
        self.snapshot
            .get_pinned_cf_opt(handle(&self.db, family)?, key, read_options(tier))
            .map_err(storage_error)
    }

    fn scan(
        &self,
        family: Family,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        tier: Tier,
    ) -> Result<RocksCursor<'_>, StorageError> {
        let options = scan_options(range, tier)?;
        let rows = self.snapshot.raw_iterator_cf_opt(handle(&self.db, family)?, options);
        Ok(RocksCursor::new(rows, reverse))
    }
}

/// Writes that take effect together.
pub struct RocksBatch {
    db: Arc<DB>,
    writes: WriteBatch,
    /// A family that the database does not have: the batch is refused as a whole.
    fault: Option<StorageError>,
}

impl RocksBatch {
    fn add(&mut self, family: Family, add: impl FnOnce(&mut WriteBatch, &ColumnFamily)) {
        match handle(&self.db, family) {
            Ok(handle) => add(&mut self.writes, handle),
            Err(error) => self.fault = Some(error),
        }
    }
}

impl Batch for RocksBatch {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.add(family, |writes, handle| writes.put_cf(handle, key, value));
    }

    fn delete(&mut self, family: Family, key: &[u8]) {
        self.add(family, |writes, handle| writes.delete_cf(handle, key));
    }

    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.add(family, |writes, handle| writes.delete_range_cf(handle, from, to));
    }
}

impl Storage for RocksStorage {
    type Snapshot<'a> = RocksSnapshot<'a>;
    type Pinned = RocksPinned;
    type Batch = RocksBatch;

    fn snapshot(&self) -> RocksSnapshot<'_> {
        RocksSnapshot {
            db: &self.db,
            snapshot: self.db.snapshot(),
        }
    }

    fn pin(&self) -> RocksPinned {
        RocksPinned::new(&self.db)
    }

    fn batch(&self) -> RocksBatch {
        RocksBatch {
            db: Arc::clone(&self.db),
            writes: WriteBatch::default(),
            fault: None,
        }
    }

    fn write(&self, batch: RocksBatch) -> Result<(), StorageError> {
        if let Some(fault) = batch.fault {
            return Err(fault);
        }
        self.db.write_opt(batch.writes, &self.unlogged).map_err(storage_error)
    }

    fn flush(&self) -> Result<(), StorageError> {
        let handles = Family::ALL
            .iter()
            .map(|family| handle(&self.db, *family))
            .collect::<Result<Vec<_>, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(&handles, &options).map_err(storage_error)
    }
}
