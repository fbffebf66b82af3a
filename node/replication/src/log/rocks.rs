//! The log in a RocksDB of its own.
//!
//! 1. A batch of changes becomes one `WriteBatch` and one synced write: a record in RocksDB's write-ahead log.
//! 2. Write-ahead log files are recycled: a sync of bytes written over older ones changes no file size, which spares
//!    the file system's journal.
//! 3. How far it is synced is noted beside it ([`super::mark`]), and checked before the log is opened for writing.
//! 4. Most entries are cut before their memtable is full, so that what is flushed is little and compaction idles.

use std::path::{Path, PathBuf};

use partita_partition::descriptor::GroupId;
use raft::eraftpb::{Entry, HardState};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRecoveryMode, Direction, IteratorMode, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::mark::SyncedMark;
use super::row::{self, Key};
use super::{Installing, LogBatch, LogChange, LogEngine, LogError, StoredGroup, Truncated, note_term};

/// A memtable, and so a write-ahead log file. Two of them are what a start-up replays at most; smaller ones would be
/// flushed before their entries are cut.
const MEMTABLE_BYTES: usize = 64 << 20;
/// Write-ahead log files kept for reuse: one is written while another one's memtable is flushed.
const RECYCLED_FILES: usize = 2;
/// Entries are read back at start-up and by slow followers only, in order.
const BLOCK_CACHE_BYTES: usize = 4 << 20;

/// See the module's header.
pub struct RocksLog {
    db: DB,
    synced: WriteOptions,
    mark: SyncedMark,
}

impl From<rocksdb::Error> for LogError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Engine(error.into_string())
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> LogError {
    LogError::Engine(format!("{}: {error}", path.display()))
}

/// Looks at the log without touching it: opening it for writing would remove what stands behind a damaged record.
fn check_reach(options: &Options, path: &Path, reached: u64) -> Result<(), LogError> {
    if reached == 0 {
        return Ok(());
    }
    let found = DB::open_for_read_only(options, path, false)?.latest_sequence_number();
    if found >= reached {
        return Ok(());
    }
    Err(LogError::CutShort {
        found,
        reached,
        files: write_ahead_files(path).map_err(|error| io_error(path, &error))?,
    })
}

/// RocksDB's write-ahead log files in a folder, in order of their numbers.
fn write_ahead_files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "log") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

impl RocksLog {
    /// Opens the log in a folder, making it when there is none.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::None);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_recycle_log_file_num(RECYCLED_FILES);
        // The only mode in which recycled files are allowed: what follows the last intact record is an older record.
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_max_background_jobs(2);
        options.set_max_open_files(64);
        options.set_keep_log_file_num(4);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        std::fs::create_dir_all(path).map_err(|error| io_error(path, &error))?;
        let (mark, reached) = SyncedMark::open(path).map_err(|error| io_error(path, &error))?;
        check_reach(&options, path, reached)?;
        let db = DB::open(&options, path)?;
        Ok(Self { db, synced, mark })
    }

    fn hard_state(&self, group: GroupId) -> Result<HardState, LogError> {
        match self.db.get_pinned(Key::HardState(group).encode())? {
            Some(bytes) => row::decode_hard_state(group, &bytes),
            None => Ok(HardState::default()),
        }
    }

    fn truncated(&self, group: GroupId) -> Result<Truncated, LogError> {
        match self.db.get_pinned(Key::Truncated(group).encode())? {
            Some(bytes) => row::decode_truncated(group, &bytes),
            None => Ok(Truncated::default()),
        }
    }

    fn installing(&self, group: GroupId) -> Result<Option<Installing>, LogError> {
        match self.db.get_pinned(Key::Installing(group).encode())? {
            Some(bytes) => row::decode_installing(group, &bytes).map(Some),
            None => Ok(None),
        }
    }

    fn has_chunks(&self, group: GroupId) -> Result<bool, LogError> {
        let start = Key::Chunk(group, 0).encode();
        let mut chunks = self.db.iterator(IteratorMode::From(&start, Direction::Forward));
        let first = chunks.next().transpose()?;
        let key = first.and_then(|(key, _)| Key::decode(&key));
        Ok(matches!(key, Some(Key::Chunk(of, _)) if of == group))
    }

    /// Reads every stored entry once: their checksums are checked before anything is served, and a gap is found here.
    fn scan_entries(&self, stored: &mut StoredGroup) -> Result<(), LogError> {
        let group = stored.id;
        let start = Key::Entry(group, stored.truncated.index + 1).encode();
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(Key::Entry(group, u64::MAX).encode().to_vec());
        options.set_readahead_size(2 << 20);
        options.fill_cache(false);
        for item in self
            .db
            .iterator_opt(IteratorMode::From(&start, Direction::Forward), options)
        {
            let (key, value) = item?;
            let Some(key @ Key::Entry(_, index)) = Key::decode(&key) else {
                break;
            };
            if index != stored.last + 1 {
                return Err(LogError::Missing {
                    group: group.0,
                    index: stored.last + 1,
                });
            }
            note_term(&mut stored.terms, index, row::entry_term(key, &value)?);
            stored.last = index;
            stored.bytes += value.len() as u64;
        }
        Ok(())
    }
}

impl LogEngine for RocksLog {
    fn write(&self, batch: &LogBatch) -> Result<u64, LogError> {
        let mut rows = WriteBatch::default();
        let mut value = Vec::new();
        for change in batch {
            match change {
                LogChange::Record(group, record) => {
                    row::encode_record(&mut value, record)?;
                    rows.put(Key::Record(*group).encode(), &value);
                }
                LogChange::Append {
                    group,
                    entries,
                    last_before,
                } => {
                    for entry in entries {
                        row::encode_entry(&mut value, entry);
                        rows.put(Key::Entry(*group, entry.index).encode(), &value);
                    }
                    let last = entries.last().map_or(*last_before, |entry| entry.index);
                    for index in last + 1..=*last_before {
                        rows.delete(Key::Entry(*group, index).encode());
                    }
                }
                LogChange::HardState(group, state) => {
                    row::encode_hard_state(&mut value, state);
                    rows.put(Key::HardState(*group).encode(), &value);
                }
                LogChange::Truncate { group, from, to } => {
                    row::encode_truncated(&mut value, *to);
                    rows.put(Key::Truncated(*group).encode(), &value);
                    rows.delete_range(
                        Key::Entry(*group, from.index + 1).encode(),
                        Key::Entry(*group, to.index + 1).encode(),
                    );
                }
                LogChange::Clear(group) => {
                    rows.delete(Key::HardState(*group).encode());
                    rows.delete(Key::Truncated(*group).encode());
                    rows.delete(Key::Installing(*group).encode());
                    rows.delete_range(Key::Entry(*group, 0).encode(), Key::Entry(*group, u64::MAX).encode());
                }
                LogChange::Installing(group, Some(mark)) => {
                    row::encode_installing(&mut value, *mark);
                    rows.put(Key::Installing(*group).encode(), &value);
                }
                LogChange::Installing(group, None) => rows.delete(Key::Installing(*group).encode()),
                LogChange::Chunk { group, number, bytes } => {
                    row::encode_chunk(&mut value, bytes);
                    rows.put(Key::Chunk(*group, *number).encode(), &value);
                }
                LogChange::DropChunks(group) => {
                    rows.delete_range(Key::Chunk(*group, 0).encode(), Key::Chunk(*group, u64::MAX).encode());
                }
            }
        }
        let bytes = rows.size_in_bytes() as u64;
        self.db.write_opt(rows, &self.synced)?;
        self.mark
            .advance(self.db.latest_sequence_number())
            .map_err(|error| io_error(self.db.path(), &error))?;
        Ok(bytes)
    }

    fn entries(&self, group: GroupId, from: u64, to: u64, bytes_max: u64) -> Result<Vec<Entry>, LogError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(Key::Entry(group, to).encode().to_vec());
        options.set_readahead_size(2 << 20);
        options.fill_cache(false);
        let start = Key::Entry(group, from).encode();
        let mut entries = Vec::new();
        let mut bytes = 0;
        for item in self
            .db
            .iterator_opt(IteratorMode::From(&start, Direction::Forward), options)
        {
            let (key, value) = item?;
            let index = from + entries.len() as u64;
            if Key::decode(&key) != Some(Key::Entry(group, index)) {
                return Err(LogError::Missing { group: group.0, index });
            }
            bytes += value.len() as u64;
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(row::decode_entry(group, index, &value)?);
        }
        if from + (entries.len() as u64) < to {
            return Err(LogError::Missing {
                group: group.0,
                index: from + entries.len() as u64,
            });
        }
        Ok(entries)
    }

    fn chunk(&self, group: GroupId, number: u64) -> Result<Vec<u8>, LogError> {
        match self.db.get_pinned(Key::Chunk(group, number).encode())? {
            Some(bytes) => row::decode_chunk(group, number, &bytes),
            None => Err(LogError::Missing {
                group: group.0,
                index: number,
            }),
        }
    }

    fn groups(&self) -> Result<Vec<StoredGroup>, LogError> {
        let start = Key::Record(GroupId(0)).encode();
        let mut groups = Vec::new();
        for item in self.db.iterator(IteratorMode::From(&start, Direction::Forward)) {
            let (key, value) = item?;
            let Some(Key::Record(id)) = Key::decode(&key) else {
                break;
            };
            let truncated = self.truncated(id)?;
            let mut stored = StoredGroup {
                id,
                record: row::decode_record(id, &value)?,
                hard_state: self.hard_state(id)?,
                truncated,
                terms: Vec::new(),
                last: truncated.index,
                bytes: 0,
                installing: self.installing(id)?,
                staged: self.has_chunks(id)?,
            };
            self.scan_entries(&mut stored)?;
            groups.push(stored);
        }
        Ok(groups)
    }

    fn close(&self) {
        self.db.cancel_all_background_work(true);
    }
}
