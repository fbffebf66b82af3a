//! What a partition needs of the disk: ordered rows in five families, consistent snapshots, atomic batches, and a
//! flush that makes everything written so far durable at once.
//!
//! Nothing written here is durable before a flush: the replicated log is the write-ahead log. After a crash an
//! engine is back at its last flush, with all families at the same moment, and the log is applied again from there.
//!
//! Two engines: [`memory`], with the same semantics, for tests and simulation, and [`rocks`]. One script of
//! behaviour (`tests/storage.rs`) runs both.

use std::ops::{Bound, Deref};

pub mod memory;
pub mod rocks;

/// A column family: each kind of row has one, so that it has filters, compression and compaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// Items of tables and rows of global indexes.
    Items = 0,
    /// Rows of local indexes, and the size of each item collection.
    LocalIndexes = 1,
    /// Items by expiry time.
    Expiry = 2,
    /// The change log.
    Changes = 3,
    /// Descriptors, counters, positions.
    Meta = 4,
}

impl Family {
    /// All of them, by number.
    pub const ALL: [Self; 5] = [Self::Items, Self::LocalIndexes, Self::Expiry, Self::Changes, Self::Meta];

    /// The family with this number in an effect.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Items => "items",
            Self::LocalIndexes => "local",
            Self::Expiry => "expiry",
            Self::Changes => "changes",
            Self::Meta => "meta",
        }
    }
}

/// How far a read may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tier {
    /// Memory only: what would need the disk answers [`StorageError::NotCached`]. For threads that must not block.
    BlockCacheOnly,
    /// Everything.
    #[default]
    All,
    /// Everything, read once and in order: nothing of it is kept in memory, where it would take the place of what is read often.
    Passing,
    /// Only what a crash would leave. Single rows only: a scan with this tier is refused.
    Persisted,
}

/// Why a row could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The row is not in memory, and the caller asked for nothing else.
    #[error("not in the block cache")]
    NotCached,
    /// Stored bytes failed their check. They are never served.
    #[error("corrupt data in {file}: {message}")]
    Corrupt {
        /// The file, as far as the engine knows.
        file: String,
        /// What did not fit.
        message: String,
    },
    /// The operating system refused.
    #[error("storage failed: {0}")]
    Io(String),
}

/// A row: key, value.
pub type Row<'a> = (&'a [u8], &'a [u8]);

/// A cursor over rows; lends each row until the next call.
pub trait Cursor {
    /// The next row in the scan's direction, or `None` at its end.
    fn next(&mut self) -> Result<Option<Row<'_>>, StorageError>;
}

/// Anything that can be read: the latest state, or a snapshot of it.
pub trait View {
    /// One row's bytes, lent without a copy where the engine can.
    type Value<'a>: Deref<Target = [u8]>
    where
        Self: 'a;
    /// A scan.
    type Cursor<'a>: Cursor
    where
        Self: 'a;

    /// One row.
    fn get(&self, family: Family, key: &[u8], tier: Tier) -> Result<Option<Self::Value<'_>>, StorageError>;

    /// The rows between two bounds, as of this call; from the upper one downwards if `reverse`.
    fn scan(
        &self,
        family: Family,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        tier: Tier,
    ) -> Result<Self::Cursor<'_>, StorageError>;
}

/// Writes that take effect together.
pub trait Batch: Send {
    /// Sets a row.
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]);
    /// Removes a row.
    fn delete(&mut self, family: Family, key: &[u8]);
    /// Removes all rows from `from` to before `to`.
    fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]);
}

/// A store of rows.
pub trait Storage: View + Send + Sync + 'static {
    /// A view that later writes do not change.
    type Snapshot<'a>: View
    where
        Self: 'a;
    /// A snapshot that can be kept: it holds on to the store.
    type Pinned: View + Send + 'static;
    /// A batch for this store.
    type Batch: Batch;

    /// The state as it is now.
    fn snapshot(&self) -> Self::Snapshot<'_>;
    /// The state as it is now, for as long as the answer is kept: what is gone meanwhile takes up space until then.
    fn pin(&self) -> Self::Pinned;
    /// An empty batch.
    fn batch(&self) -> Self::Batch;
    /// Applies a batch: visible at once and together, durable after the next flush.
    fn write(&self, batch: Self::Batch) -> Result<(), StorageError>;
    /// Makes everything written so far durable, all families at the same moment.
    fn flush(&self) -> Result<(), StorageError>;
}
