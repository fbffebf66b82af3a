//! Application of committed effects.

use std::sync::Arc;

use crate::descriptor::LogPosition;
use crate::error::PartitionError;
use crate::reader::PartitionReader;
use crate::storage::Storage;

/// Stores the rows of committed effects, in the order of the log:
/// `apply`* per entry, `finish` once per batch, `Storage::write`, `publish`.
#[derive(Debug)]
pub struct Applier<S: Storage> {
    reader: Arc<PartitionReader<S>>,
    at: LogPosition,
}

impl<S: Storage> Applier<S> {
    #[expect(dead_code, reason = "opening follows")]
    pub(crate) fn new(reader: Arc<PartitionReader<S>>, at: LogPosition) -> Self {
        Self { reader, at }
    }

    /// The last entry applied (finished).
    pub fn at(&self) -> LogPosition {
        self.at
    }

    /// Adds one effect's rows to the batch.
    pub fn apply(&mut self, _batch: &mut S::Batch, _effect: &[u8]) -> Result<(), PartitionError> {
        Err(PartitionError::NotCached)
    }

    /// Adds the counters and the position of the last entry (also of one that was skipped) to the batch.
    pub fn finish(&mut self, _batch: &mut S::Batch, at: LogPosition) {
        self.at = at;
    }

    /// The batch has been written: what it changed becomes visible in `PartitionReader::applied`.
    pub fn publish(&mut self) {
        let _ = &self.reader;
    }
}
