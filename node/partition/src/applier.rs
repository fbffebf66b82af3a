//! Application of committed effects: `apply`* per entry, `finish` once per batch, `Storage::write`, `publish`.

use std::ops::Bound;
use std::sync::Arc;

use partita_model::key;

use crate::change::ChangeRecord;
use crate::descriptor::{self, LogPosition, PartitionDescriptor};
use crate::effect::{Operation, operations};
use crate::error::PartitionError;
use crate::reader::PartitionReader;
use crate::row::{self, MetaKind, StoreKey};
use crate::split::{SplitDone, SplitRecord};
use crate::state::{self, Applied};
use crate::storage::{Batch, Cursor as _, Family, Storage, Tier};
use crate::transfer;

/// What a split's child begins with besides its rows.
#[derive(Debug, Clone, Copy)]
pub struct Birth<'a> {
    /// Its log begins behind this.
    pub at: LogPosition,
    /// Its members: the replication's own bytes.
    pub members: &'a [u8],
}

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
                // It has an entry of its own: see [`Self::split`].
                Operation::Split(_) => return Err(PartitionError::UnknownFormat("a split among other effects".into())),
            }
        }
        Ok(())
    }

    /// The range epoch as applied so far, also in the middle of a batch.
    pub fn range_epoch(&self) -> u64 {
        self.applied.descriptor.range_epoch
    }

    /// Cuts the partition, and writes the child's rows unless they are there. Everything before must have been written:
    /// rows are read. No error may be caused by the entry's content: all replicas have to come to the same.
    pub fn split(
        &mut self,
        batch: &mut S::Batch,
        split: &SplitRecord,
        birth: &Birth<'_>,
    ) -> Result<(), PartitionError> {
        let storage = Arc::clone(self.reader.storage());
        let parent = Arc::clone(&self.applied.descriptor);
        let (left, right) = split.cut(&parent);
        let done = SplitDone {
            id: split.id,
            key: split.key.clone(),
            child: split.child,
            range_epoch: left.range_epoch,
        };
        let (lineage, inherited) = self.reader.lineage()?.after(parent.group, done);
        let own = |kind| row::meta(parent.table, parent.group, kind);
        batch.put(Family::Meta, &own(MetaKind::Descriptor), &descriptor::stored(&left)?);
        batch.put(Family::Meta, &own(MetaKind::Lineage), &lineage.encode()?);
        let counters = self.applied.counters.split(&split.departing);
        self.applied.descriptor = Arc::new(left);
        let child = |kind| row::meta(right.table, right.group, kind);
        if storage
            .get(Family::Meta, &child(MetaKind::Descriptor), Tier::All)?
            .is_some()
        {
            return Ok(());
        }
        batch.put(Family::Meta, &child(MetaKind::Descriptor), &descriptor::stored(&right)?);
        batch.put(
            Family::Meta,
            &child(MetaKind::State),
            &state::encode(birth.at, &counters),
        );
        batch.put(Family::Meta, &child(MetaKind::Members), birth.members);
        batch.put(Family::Meta, &child(MetaKind::Lineage), &inherited.encode()?);
        inherit_positions(&*storage, batch, &parent, &right)?;
        inherit_changes(&*storage, batch, &parent, &right)
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

/// What has been delivered to the parent has been delivered to both.
fn inherit_positions<S: Storage>(
    storage: &S,
    batch: &mut S::Batch,
    parent: &PartitionDescriptor,
    child: &PartitionDescriptor,
) -> Result<(), PartitionError> {
    let from = row::meta(parent.table, parent.group, MetaKind::Position);
    let to = row::meta(parent.table, parent.group, MetaKind::Members);
    let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
    let mut cursor = storage.scan(Family::Meta, range, false, Tier::All)?;
    while let Some((key, value)) = cursor.next()? {
        if let Some(source) = row::position_source(key) {
            let key = row::position(child.table, child.group, source);
            batch.put(Family::Meta, &key, value);
        }
    }
    Ok(())
}

/// Change records of the child's items move to its own log, with their times.
fn inherit_changes<S: Storage>(
    storage: &S,
    batch: &mut S::Batch,
    parent: &PartitionDescriptor,
    child: &PartitionDescriptor,
) -> Result<(), PartitionError> {
    let Some(schema) = parent.schema() else { return Ok(()) };
    let (from, to) = transfer::changes(parent);
    let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let mut cursor = storage.scan(Family::Changes, (Bound::Included(&from[..]), to), false, Tier::All)?;
    while let Some((key, value)) = cursor.next()? {
        let time = row::change_time(key).ok_or(PartitionError::UnknownFormat("change key".to_owned()))?;
        let record = ChangeRecord::decode(time, value)?;
        let primary = key::primary(&schema.keys, schema.seed, record.keys.as_ref());
        if primary.is_some_and(|primary| child.contains(&primary)) {
            batch.delete(Family::Changes, key);
            batch.put(Family::Changes, &row::change(child.table, child.group, time), value);
        }
    }
    Ok(())
}
