//! Application of committed effects: `apply`* per entry, `finish` once per batch, `Storage::write`, `publish`.

use std::sync::Arc;

use crate::descriptor::{self, LogPosition};
use crate::effect::{Operation, operations};
use crate::error::PartitionError;
use crate::reader::PartitionReader;
use crate::row::{self, MetaKind, StoreKey};
use crate::state::{self, Applied};
use crate::storage::{Batch, Family, Storage};
use crate::transfer;

/// Stores the rows of committed effects, in the order of the log.
#[derive(Debug)]
pub struct Applier<S: Storage> {
    reader: Arc<PartitionReader<S>>,
    /// As of the last `finish`, or in the middle of a batch.
    applied: Applied,
    state_key: StoreKey,
}

impl<S: Storage> Applier<S> {
    pub(crate) fn new(reader: Arc<PartitionReader<S>>) -> Self {
        let applied = reader.applied();
        let state_key = row::meta(applied.descriptor.table, applied.descriptor.group, MetaKind::State);
        Self {
            reader,
            applied,
            state_key,
        }
    }

    /// The last entry applied (finished).
    pub fn at(&self) -> LogPosition {
        self.applied.at
    }

    /// Adds one effect's rows to the batch. An error is the end of this replica: the batch must not be written.
    pub fn apply(&mut self, batch: &mut S::Batch, effect: &[u8]) -> Result<(), PartitionError> {
        for operation in operations(effect)? {
            let counters = &mut self.applied.counters;
            match operation? {
                Operation::Put(family, key, value) => batch.put(family, key, value),
                Operation::Delete(family, key) => batch.delete(family, key),
                Operation::DeleteRange(family, from, to) => batch.delete_range(family, from, to),
                Operation::Clock(time) => counters.clock = counters.clock.max(time),
                Operation::Count(items, bytes) => {
                    counters.items = counters.items.saturating_add_signed(items);
                    counters.bytes = counters.bytes.saturating_add_signed(bytes);
                }
                Operation::CountLocal(index, rows, bytes) => counters.count_local(index, rows, bytes),
                Operation::Descriptor(descriptor) => {
                    let key = row::meta(descriptor.table, descriptor.group, MetaKind::Descriptor);
                    batch.put(Family::Meta, &key, &descriptor::stored(&descriptor)?);
                    self.applied.descriptor = Arc::from(descriptor);
                }
                Operation::Trimmed(time) => counters.trimmed = counters.trimmed.max(time),
            }
        }
        Ok(())
    }

    /// Adds the counters and the position of the last entry (also of one that was skipped) to the batch.
    pub fn finish(&mut self, batch: &mut S::Batch, at: LogPosition) {
        self.applied.at = at;
        batch.put(
            Family::Meta,
            &self.state_key,
            &state::encode(at, &self.applied.counters),
        );
    }

    /// The rows have been replaced by a snapshot's: what the partition knows of itself is read anew, and shown.
    pub fn reload(&mut self) -> Result<(), PartitionError> {
        let storage = self.reader.storage();
        let descriptor = &self.applied.descriptor;
        if let Some(head) = transfer::head(&**storage, descriptor.table, descriptor.group)? {
            let (at, counters) = state::decode(&head.state)?;
            let descriptor = Arc::new(head.descriptor()?);
            self.applied = Applied {
                descriptor,
                at,
                counters,
            };
            self.publish();
        }
        Ok(())
    }

    /// The batch has been written: what it changed becomes visible in `PartitionReader::applied`.
    pub fn publish(&mut self) {
        self.reader.publish(&self.applied);
    }
}
