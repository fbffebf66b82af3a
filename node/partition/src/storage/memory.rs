//! The engine of tests and simulation: ordered maps with RocksDB's semantics. A crash falls back to the last flush.

use std::collections::BTreeMap;
use std::ops::{Bound, Deref};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Batch, Cursor, Family, Row, Storage, StorageError, Tier, View};

type Rows = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// All families at one moment. Cloned when written while a snapshot is held.
type State = [Arc<Rows>; Family::ALL.len()];

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    current: State,
    flushed: State,
    writes: u64,
    /// The write that fails, and the one that is followed by a flush.
    fail_at: Option<u64>,
    flush_at: Option<u64>,
}

impl MemoryStorage {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a process finds after a crash: the state of the last flush.
    pub fn crash(&self) {
        let mut inner = self.inner.lock();
        inner.current = inner.flushed.clone();
        (inner.fail_at, inner.flush_at) = (None, None);
    }

    /// Nothing that was injected happens any more.
    pub fn recover(&self) {
        let mut inner = self.inner.lock();
        (inner.fail_at, inner.flush_at) = (None, None);
    }

    /// How many batches were written.
    pub fn writes(&self) -> u64 {
        self.inner.lock().writes
    }

    /// The write with this number (counted from 1 for the store's whole life) fails, until a crash.
    pub fn fail_at(&self, write: u64) {
        self.inner.lock().fail_at = Some(write);
    }

    /// Everything is flushed after the write with this number, as an engine does by itself when its memory is full.
    pub fn flush_at(&self, write: u64) {
        self.inner.lock().flush_at = Some(write);
    }
}

/// A row's bytes, shared with the store.
#[derive(Debug)]
pub struct MemoryValue(Arc<[u8]>);

impl Deref for MemoryValue {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The state at one moment.
#[derive(Debug)]
pub struct MemorySnapshot(State);

/// A scan over the rows of one moment.
#[derive(Debug)]
pub struct MemoryCursor {
    rows: Arc<Rows>,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    reverse: bool,
}

impl Cursor for MemoryCursor {
    fn next(&mut self) -> Result<Option<Row<'_>>, StorageError> {
        if is_empty(&self.from, &self.to) {
            return Ok(None);
        }
        let mut range = self.rows.range((self.from.clone(), self.to.clone()));
        let Some((key, value)) = (if self.reverse { range.next_back() } else { range.next() }) else {
            return Ok(None);
        };
        let passed = Bound::Excluded(key.clone());
        if self.reverse {
            self.to = passed;
        } else {
            self.from = passed;
        }
        Ok(Some((key, value)))
    }
}

/// Whether a range holds nothing whatever the rows (`BTreeMap::range` refuses such ranges).
fn is_empty(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
    }
}

fn scan(
    state: &State,
    family: Family,
    range: (Bound<&[u8]>, Bound<&[u8]>),
    reverse: bool,
    tier: Tier,
) -> Result<MemoryCursor, StorageError> {
    if tier == Tier::Persisted {
        return Err(StorageError::Io(
            "a scan cannot be limited to what is flushed".to_owned(),
        ));
    }
    Ok(MemoryCursor {
        rows: Arc::clone(&state[family as usize]),
        from: range.0.map(<[u8]>::to_vec),
        to: range.1.map(<[u8]>::to_vec),
        reverse,
    })
}

impl View for MemorySnapshot {
    type Value<'a> = MemoryValue;
    type Cursor<'a> = MemoryCursor;

    fn get(&self, family: Family, key: &[u8], _tier: Tier) -> Result<Option<MemoryValue>, StorageError> {
        Ok(self.0[family as usize].get(key).cloned().map(MemoryValue))
    }

    fn scan(
        &self,
        family: Family,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        tier: Tier,
    ) -> Result<MemoryCursor, StorageError> {
        scan(&self.0, family, range, reverse, tier)
    }
}

impl View for MemoryStorage {
    type Value<'a> = MemoryValue;
    type Cursor<'a> = MemoryCursor;

    fn get(&self, family: Family, key: &[u8], tier: Tier) -> Result<Option<MemoryValue>, StorageError> {
        let inner = self.inner.lock();
        let state = match tier {
            Tier::BlockCacheOnly | Tier::All | Tier::Passing => &inner.current,
            Tier::Persisted => &inner.flushed,
        };
        Ok(state[family as usize].get(key).cloned().map(MemoryValue))
    }

    fn scan(
        &self,
        family: Family,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        tier: Tier,
    ) -> Result<MemoryCursor, StorageError> {
        scan(&self.inner.lock().current, family, range, reverse, tier)
    }
}

/// Writes in order.
#[derive(Debug, Default)]
pub struct MemoryBatch(Vec<Write>);

#[derive(Debug)]
enum Write {
    Put(Family, Vec<u8>, Arc<[u8]>),
    Delete(Family, Vec<u8>),
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

impl Batch for MemoryBatch {
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.0.push(Write::Put(family, key.to_vec(), Arc::from(value)));
    }

    fn delete(&mut self, family: Family, key: &[u8]) {
        self.0.push(Write::Delete(family, key.to_vec()));
    }

    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.0.push(Write::DeleteRange(family, from.to_vec(), to.to_vec()));
    }
}

impl Storage for MemoryStorage {
    type Snapshot<'a> = MemorySnapshot;
    type Pinned = MemorySnapshot;
    type Batch = MemoryBatch;

    fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot(self.inner.lock().current.clone())
    }

    fn pin(&self) -> MemorySnapshot {
        self.snapshot()
    }

    fn batch(&self) -> MemoryBatch {
        MemoryBatch::default()
    }

    fn write(&self, batch: MemoryBatch) -> Result<(), StorageError> {
        let mut inner = self.inner.lock();
        inner.writes += 1;
        if inner.fail_at.is_some_and(|write| inner.writes >= write) {
            return Err(StorageError::Io("injected: the disk is gone".to_owned()));
        }
        for write in batch.0 {
            match write {
                Write::Put(family, key, value) => {
                    Arc::make_mut(&mut inner.current[family as usize]).insert(key, value);
                }
                Write::Delete(family, key) => {
                    Arc::make_mut(&mut inner.current[family as usize]).remove(&key);
                }
                Write::DeleteRange(family, from, to) => {
                    Arc::make_mut(&mut inner.current[family as usize]).retain(|key, _| *key < from || *key >= to);
                }
            }
        }
        if inner.flush_at == Some(inner.writes) {
            inner.flushed = inner.current.clone();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StorageError> {
        let mut inner = self.inner.lock();
        inner.flushed = inner.current.clone();
        Ok(())
    }
}
