//! Application of committed effects: `apply`* per entry, `finish` once per batch, `Storage::write`, `publish`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use partita_model::key;

use crate::Partition;
use crate::change::ChangeRecord;
use crate::command::Delivered;
use crate::descriptor::{self, GroupId, ItemTime, LogPosition, PartitionDescriptor};
use crate::effect::{Operation, operations};
use crate::error::PartitionError;
use crate::merge::{self, Frozen, MergeDone, MergeOutcome, MergeRecord, MergeStep, Verdict};
use crate::reader::{POSITION_VERSION, PartitionReader};
use crate::row::{self, MetaKind, StoreKey};
use crate::split::{Lineage, SplitDone, SplitRecord};
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
                // So do they: see [`Self::step`].
                Operation::Merge(_) => return Err(PartitionError::UnknownFormat("a merge among other effects".into())),
            }
        }
        Ok(())
    }

    /// The range epoch as applied so far, also in the middle of a batch.
    pub fn range_epoch(&self) -> u64 {
        self.applied.descriptor.range_epoch
    }

    /// Cuts the partition, and writes the child's rows unless they are there. Where the child has been before, and is not any more
    /// (there is no `birth`), nothing is left of what it takes away. Everything before must have been written: rows are read.
    /// No error may be caused by the entry's content: all replicas have to come to the same.
    pub fn split(
        &mut self,
        batch: &mut S::Batch,
        split: &SplitRecord,
        birth: Option<&Birth<'_>>,
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
        let Some(birth) = birth else {
            return Partition::destroy(&*storage, batch, &right);
        };
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

    /// Adds a step of a merge (but for the merge itself) to the batch: the entry at this place. Everything before must have
    /// been written. What does not fit changes nothing: who asked looks at what came of it.
    pub fn step(&mut self, batch: &mut S::Batch, step: &MergeStep, at: LogPosition) -> Result<(), PartitionError> {
        let frozen = self.applied.frozen.as_deref();
        match step {
            MergeStep::Freeze { id, absorber } => {
                if frozen.is_none() && !self.reader.lineage()?.thawed.contains(id) {
                    let (id, absorber, everywhere) = (*id, *absorber, false);
                    self.freeze(
                        batch,
                        Frozen {
                            id,
                            absorber,
                            at,
                            everywhere,
                        },
                    )?;
                }
            }
            MergeStep::Everywhere { id } => {
                if let Some(frozen) = frozen.filter(|frozen| frozen.id == *id).cloned() {
                    let everywhere = true;
                    self.freeze(batch, Frozen { everywhere, ..frozen })?;
                }
            }
            MergeStep::Thaw { id } => {
                if frozen.is_some_and(|frozen| frozen.id == *id) {
                    batch.delete(Family::Meta, &self.own(MetaKind::Freeze));
                    self.set_lineage(batch, &self.reader.lineage()?.thaw(*id))?;
                    self.applied.frozen = None;
                }
            }
            MergeStep::Refuse { id, source } => self.refuse(batch, *id, *source)?,
            MergeStep::Merge(_) => return Err(PartitionError::UnknownFormat("a merge without a source".into())),
        }
        Ok(())
    }

    fn freeze(&mut self, batch: &mut S::Batch, frozen: Frozen) -> Result<(), PartitionError> {
        batch.put(Family::Meta, &self.own(MetaKind::Freeze), &frozen.encode()?);
        self.applied.frozen = Some(Arc::new(frozen));
        Ok(())
    }

    /// What a merge's entry comes to here, if it was evaluated in this range epoch and the members have that epoch. It is the
    /// same wherever the entry is applied.
    pub fn verdict(
        &self,
        record: &MergeRecord,
        range_epoch: u64,
        membership_epoch: u64,
    ) -> Result<Verdict, PartitionError> {
        if self.reader.lineage()?.merge(record.id).is_some() {
            return Ok(Verdict::Decided);
        }
        let own = &self.applied.descriptor;
        let same = own.range_epoch == range_epoch && record.membership_epoch == membership_epoch;
        let fits = same && self.applied.frozen.is_none() && merge::check(own, &record.source).is_ok();
        Ok(if fits { Verdict::Merged } else { Verdict::Refused })
    }

    /// Remembers that a merge is refused, unless it was decided before. Everything before must have been written.
    pub fn refuse(&mut self, batch: &mut S::Batch, id: u128, source: GroupId) -> Result<(), PartitionError> {
        let lineage = self.reader.lineage()?;
        if lineage.merge(id).is_some() {
            return Ok(());
        }
        let outcome = MergeOutcome::Refused;
        self.set_lineage(batch, &lineage.decided(MergeDone { id, source, outcome }))
    }

    /// Takes the source, which stands frozen in the same store. Everything before must have been written, here and there.
    pub fn absorb(
        &mut self,
        batch: &mut S::Batch,
        record: &MergeRecord,
        source: &PartitionReader<S>,
    ) -> Result<(), PartitionError> {
        let storage = Arc::clone(self.reader.storage());
        let absorber = Arc::clone(&self.applied.descriptor);
        let merged = merge::join(&absorber, &record.source);
        let outcome = MergeOutcome::Merged {
            freeze: record.freeze,
            range_epoch: merged.range_epoch,
        };
        let (id, group) = (record.id, record.source.group);
        let done = MergeDone {
            id,
            source: group,
            outcome,
        };
        let lineage = self.reader.lineage()?;
        let lineage = lineage.join(absorber.group, source.lineage()?, done, merged.range_epoch);
        self.set_lineage(batch, &lineage)?;
        batch.put(
            Family::Meta,
            &self.own(MetaKind::Descriptor),
            &descriptor::stored(&merged)?,
        );
        join_positions(&*storage, batch, &absorber, &record.source)?;
        let counters = &mut self.applied.counters;
        counters.join(&source.applied().counters);
        counters.clock = append_changes(&*storage, batch, &absorber, &record.source, counters.clock)?;
        Partition::<S>::forget(batch, &record.source);
        self.applied.descriptor = Arc::new(merged);
        Ok(())
    }

    fn own(&self, kind: MetaKind) -> StoreKey {
        let descriptor = &self.applied.descriptor;
        row::meta(descriptor.table, descriptor.group, kind)
    }

    fn set_lineage(&self, batch: &mut S::Batch, lineage: &Lineage) -> Result<(), PartitionError> {
        batch.put(Family::Meta, &self.own(MetaKind::Lineage), &lineage.encode()?);
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
            let frozen = storage.get(Family::Meta, &self.own(MetaKind::Freeze), Tier::All)?;
            let frozen = frozen.map(|frozen| Frozen::decode(&frozen)).transpose()?;
            let descriptor = Arc::new(head.descriptor()?);
            self.applied = Applied {
                descriptor,
                at,
                counters,
                frozen: frozen.map(Arc::new),
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

/// The positions that a partition of an index has recorded: source and row.
fn positions<S: Storage>(
    storage: &S,
    descriptor: &PartitionDescriptor,
) -> Result<Vec<(GroupId, Vec<u8>)>, PartitionError> {
    let from = row::meta(descriptor.table, descriptor.group, MetaKind::Position);
    let to = row::meta(descriptor.table, descriptor.group, MetaKind::Members);
    let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
    let mut cursor = storage.scan(Family::Meta, range, false, Tier::All)?;
    let mut found = Vec::new();
    while let Some((key, value)) = cursor.next()? {
        found.extend(row::position_source(key).map(|source| (source, value.to_vec())));
    }
    Ok(found)
}

/// What has been delivered to the parent has been delivered to both.
fn inherit_positions<S: Storage>(
    storage: &S,
    batch: &mut S::Batch,
    parent: &PartitionDescriptor,
    child: &PartitionDescriptor,
) -> Result<(), PartitionError> {
    for (source, position) in positions(storage, parent)? {
        batch.put(
            Family::Meta,
            &row::position(child.table, child.group, source),
            &position,
        );
    }
    Ok(())
}

/// What has been delivered to both has been delivered to the one; and what either of them refuses, it refuses.
fn join_positions<S: Storage>(
    storage: &S,
    batch: &mut S::Batch,
    absorber: &PartitionDescriptor,
    source: &PartitionDescriptor,
) -> Result<(), PartitionError> {
    let read = |descriptor| -> Result<BTreeMap<GroupId, Delivered>, PartitionError> {
        let rows = positions(storage, descriptor)?.into_iter();
        rows.map(|(from, row)| Ok((from, descriptor::decode(POSITION_VERSION, &row, "position")?)))
            .collect()
    };
    let (own, other) = (read(absorber)?, read(source)?);
    for from in own.keys().chain(other.keys()) {
        let of = |positions: &BTreeMap<GroupId, Delivered>| positions.get(from).copied().unwrap_or_default();
        let (one, two) = (of(&own), of(&other));
        let joined = Delivered {
            session: one.session.max(two.session),
            through: one.through.min(two.through),
        };
        let key = row::position(absorber.table, absorber.group, *from);
        batch.put(Family::Meta, &key, &descriptor::encode(POSITION_VERSION, &joined)?);
    }
    Ok(())
}

/// The source's change records go behind everything that the absorber's log ever held, in their order. The last time given.
fn append_changes<S: Storage>(
    storage: &S,
    batch: &mut S::Batch,
    absorber: &PartitionDescriptor,
    source: &PartitionDescriptor,
    clock: ItemTime,
) -> Result<ItemTime, PartitionError> {
    let (from, to) = transfer::changes(source);
    let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let mut cursor = storage.scan(Family::Changes, (Bound::Included(&from[..]), to), false, Tier::All)?;
    let mut time = clock;
    while let Some((_, value)) = cursor.next()? {
        time = time.next();
        batch.put(
            Family::Changes,
            &row::change(absorber.table, absorber.group, time),
            value,
        );
    }
    Ok(time)
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
