//! A merge where it is applied: the absorber's entry needs the source beside it, as it stands frozen.
//!
//! 1. [`waits`]: the source may not have come to its freeze here, or may be in the middle of a snapshot, or (in a recovery)
//!    may not be open yet. Its log has the freeze, durable: that is what `Everywhere` in the source's log means. So it is
//!    told that the entry is committed, and what the absorber has committed waits meanwhile ([`Replica::stall`]).
//! 2. [`absorb`]: the source ends; its record in the log says by which entry of which group, before the state does; then its
//!    rows are the absorber's, in one batch.
//! 3. The source's log stays until that is flushed ([`Core::bury_absorbed`]): a crash may forget it, and then both are applied
//!    again. A recovery brings the source to its freeze first.
//! 4. A replica that gets the absorber by a snapshot from behind the merge ends its source with the installation of that
//!    ([`end_with_snapshot`]), in one batch of the log.
//!
//! [`Replica::stall`]: crate::replica::Replica::stall

use std::collections::HashMap;

use partita_model::request::Refusal;
use partita_partition::applier::Applier;
use partita_partition::descriptor::{GroupId, LogPosition};
use partita_partition::effect::merge_step_of;
use partita_partition::merge::{MergeRecord, MergeStep, Verdict};
use partita_partition::storage::Storage;
use raft::eraftpb::Entry;

use crate::core::Core;
use crate::frame::Frame;
use crate::group::Group;
use crate::log::{GroupRecord, Life, LogBatch, LogChange, LogError, Parent, StoredGroup};
use crate::planted::{self, Bug};
use crate::recovery::{self, RecoveryError};
use crate::writer::{self, Fatal};

/// Merges whose absorbers wait for their sources.
#[derive(Debug, Default)]
pub(crate) struct Waiting(HashMap<GroupId, Wait>);

/// What an absorber waits for.
#[derive(Debug, Clone, Copy)]
struct Wait {
    absorber: GroupId,
    freeze: LogPosition,
}

impl Waiting {
    /// A group ends: it waits for nobody.
    pub(crate) fn forget(&mut self, absorber: GroupId) {
        self.0.retain(|_, wait| wait.absorber != absorber);
    }
}

/// The step that an entry is; `None` for an entry of another kind.
pub(crate) fn step(entry: &Entry) -> Result<Option<MergeStep>, Fatal> {
    let index = entry.index;
    if !Frame::looks_like_merge(&entry.data) {
        return Ok(None);
    }
    let frame = Frame::parse(&entry.data).map_err(|error| Fatal::Frame { index, error })?;
    let effect = frame.effects().next().transpose();
    let effect = effect.map_err(|error| Fatal::Frame { index, error })?;
    let step = merge_step_of(effect.unwrap_or_default());
    step.map_err(|error| Fatal::Apply { index, error })
}

/// Whether a group's next entry is a merge that has to wait for its source. What will let it go on is set in motion.
pub(crate) fn waits<S: Storage>(core: &Core<S>, group: &Group<S>, entry: &Entry) -> Result<bool, Fatal> {
    let Some(MergeStep::Merge(record)) = step(entry)? else {
        return Ok(false);
    };
    let index = entry.index;
    let frame = Frame::parse(&entry.data).map_err(|error| Fatal::Frame { index, error })?;
    if frame.evaluated().term != entry.term || verdict(group, &record, frame, index)? != Verdict::Merged {
        return Ok(false);
    }
    let source = record.source.group;
    if core.group(source).is_some() && (is_at(core, source, record.freeze) || planted::has(Bug::SourceNotAwaited)) {
        return Ok(false);
    }
    tracing::info!(
        group = group.id().0,
        source = source.0,
        "a merge waits for its source to come to its freeze here"
    );
    let wait = Wait {
        absorber: group.id(),
        freeze: record.freeze,
    };
    core.merging.lock().0.insert(source, wait);
    Ok(true)
}

fn verdict<S: Storage>(group: &Group<S>, record: &MergeRecord, frame: Frame<'_>, index: u64) -> Result<Verdict, Fatal> {
    let membership_epoch = group.members().epoch;
    let applier = group.applier.lock();
    let verdict = applier.verdict(record, frame.evaluated().range_epoch, membership_epoch);
    verdict.map_err(|error| Fatal::Apply { index, error })
}

/// Whether a group stands frozen here by this entry.
fn is_at<S: Storage>(core: &Core<S>, source: GroupId, freeze: LogPosition) -> bool {
    let Some(group) = core.group(source) else { return false };
    let frozen = group.reader().applied().frozen;
    frozen.is_some_and(|frozen| frozen.at == freeze) && !group.replica.lock().is_receiving()
}

/// Whether a group that was absorbed elsewhere stands frozen here by this entry, or is not here. Else it is told that the
/// entry is committed.
pub(crate) fn has_come_to<S: Storage>(core: &Core<S>, source: GroupId, freeze: LogPosition) -> bool {
    let Some(group) = core.group(source) else { return true };
    let there = is_at(core, source, freeze);
    if !there {
        group.with_turn(|replica| replica.commit(freeze));
    }
    there
}

/// Something was applied: absorbers whose sources have come to their freezes go on, the other sources are told (again) that
/// they are committed.
pub(crate) fn resume<S: Storage>(core: &Core<S>) {
    let waiting: Vec<_> = {
        let merging = core.merging.lock();
        merging.0.iter().map(|(source, wait)| (*source, *wait)).collect()
    };
    for (source, wait) in waiting {
        if core.group(source).is_some() && has_come_to(core, source, wait.freeze) {
            core.merging.lock().0.remove(&source);
            if let Some(absorber) = core.group(wait.absorber) {
                absorber.with_turn(|replica| replica.resume());
            }
        }
    }
}

/// A source that has been absorbed in the batch that is about to be written.
pub(crate) struct Absorbed {
    source: GroupId,
    record: GroupRecord,
    by: Parent,
}

/// Adds a merge to the batch: the source ends, and its rows are the absorber's.
pub(crate) fn absorb<S: Storage>(
    core: &Core<S>,
    absorber: &Group<S>,
    applier: &mut Applier<S>,
    batch: &mut S::Batch,
    entry: u64,
    record: &MergeRecord,
) -> Result<Absorbed, Fatal> {
    let source = core.group(record.source.group);
    let source = source.ok_or_else(|| Fatal::Merge("its source is not here".to_owned()))?;
    source.end(Refusal::WrongRange);
    let by = Parent {
        group: absorber.id(),
        index: entry,
    };
    let life = match planted::has(Bug::SourceBuriedEarly) {
        true => Life::Destroyed,
        false => Life::Absorbed(by),
    };
    let of_source = GroupRecord {
        life,
        ..source.record().clone()
    };
    core.log
        .write(&vec![LogChange::Record(source.id(), of_source.clone())])?;
    let absorbed = applier.absorb(batch, record, source.reader());
    absorbed.map_err(|error| Fatal::Apply { index: entry, error })?;
    Ok(Absorbed {
        source: source.id(),
        record: of_source,
        by,
    })
}

/// The batch has been written, and the absorber shows what it has: the source is not here any more.
pub(crate) fn close<S: Storage>(core: &Core<S>, absorbed: Absorbed) {
    let Absorbed { source, record, by } = absorbed;
    core.groups.write().remove(&source);
    core.ledger.lock().absorbed(source, record, by);
    core.merging.lock().forget(source);
    core.changed();
}

/// A snapshot is about to take a group's place, which has absorbed these: they end in the same batch of the log. The state is
/// flushed before that is written, so what they have absorbed themselves ends with them.
pub(crate) fn end_with_snapshot<S: Storage>(
    core: &Core<S>,
    absorbs: &[GroupId],
    batch: &mut LogBatch,
) -> Result<(), Fatal> {
    let here = absorbs.iter().any(|source| core.group(*source).is_some());
    let unburied = if here {
        core.ledger.lock().unburied()
    } else {
        Unburied::new()
    };
    for (source, _, record) in unburied {
        batch.extend(tombstone(source, &record));
        core.ledger.lock().buried(source);
    }
    for source in absorbs {
        let Some(group) = core.group(*source) else { continue };
        // It may be getting a snapshot itself: half of one would be left behind.
        writer::end_installing(&group)?;
        group.end(Refusal::WrongRange);
        batch.extend(tombstone(*source, group.record()));
        core.groups.write().remove(source);
        core.ledger.lock().destroyed(*source, group.record().replica);
        core.merging.lock().forget(*source);
        core.changed();
    }
    Ok(())
}

/// Nothing is left of a group but the record that it was here.
pub(crate) fn tombstone(group: GroupId, record: &GroupRecord) -> [LogChange; 3] {
    let record = GroupRecord {
        life: Life::Destroyed,
        ..record.clone()
    };
    [
        LogChange::Clear(group),
        LogChange::DropChunks(group),
        LogChange::Record(group, record),
    ]
}

/// Logs that stay for a while: whose, by which entry it was absorbed, and its record.
type Unburied = Vec<(GroupId, Parent, GroupRecord)>;

impl<S: Storage> Core<S> {
    /// Logs of absorbed groups go, once what absorbed them is flushed.
    pub(crate) fn bury_absorbed(&self) -> Result<(), LogError> {
        let unburied = self.ledger.lock().unburied();
        let flushed = |absorbed: &&(GroupId, Parent, GroupRecord)| self.is_flushed(&unburied, absorbed.1);
        let flushed: Unburied = unburied.iter().filter(flushed).cloned().collect();
        self.bury(&flushed)
    }

    /// Flushes the state, and forgets the logs of all groups that were absorbed before.
    pub(crate) fn flush_and_bury(&self) -> Result<(), Fatal> {
        let unburied = self.ledger.lock().unburied();
        self.storage.flush()?;
        Ok(self.bury(&unburied)?)
    }

    fn bury(&self, absorbed: &Unburied) -> Result<(), LogError> {
        for (source, _, record) in absorbed {
            self.log.write(&Vec::from(tombstone(*source, record)))?;
            self.ledger.lock().buried(*source);
        }
        Ok(())
    }

    /// Whether an entry's effects are in the state's files. All of the state is flushed at once: of a group that was absorbed
    /// itself, they are when that is.
    fn is_flushed(&self, unburied: &Unburied, entry: Parent) -> bool {
        if let Some(group) = self.group(entry.group) {
            return group.reader().flushed_at().is_ok_and(|at| at.index >= entry.index);
        }
        let itself = unburied.iter().find(|absorbed| absorbed.0 == entry.group);
        itself.is_some_and(|absorbed| self.is_flushed(unburied, absorbed.1))
    }
}

/// At a start: what is left in the log of sources whose absorption is in the state's files (or whose absorbers are gone) goes.
/// The others are needed again.
pub(crate) fn bury_at_start<S: Storage>(core: &Core<S>, stored: &mut Vec<StoredGroup>) -> Result<(), RecoveryError> {
    let mut gone = Vec::new();
    for group in &*stored {
        if let Life::Absorbed(by) = group.record.life
            && is_past(core, stored, by)?
        {
            gone.push((group.id, group.record.replica));
            core.log.write(&Vec::from(tombstone(group.id, &group.record)))?;
        }
    }
    stored.retain(|group| gone.iter().all(|gone| gone.0 != group.id));
    for (group, replica) in gone {
        core.ledger.lock().destroyed(group, replica);
    }
    Ok(())
}

/// Whether the state's files have this entry of a group.
fn is_past<S: Storage>(core: &Core<S>, stored: &[StoredGroup], entry: Parent) -> Result<bool, RecoveryError> {
    let Some(group) = stored.iter().find(|group| group.id == entry.group) else {
        return Ok(true);
    };
    let installed = group.installing.map_or(0, |mark| mark.at.index);
    let applied = recovery::applied_index(core, group)?;
    if applied.max(installed).max(group.truncated.index) >= entry.index {
        return Ok(true);
    }
    match group.record.life {
        Life::Alive => Ok(false),
        Life::Destroying | Life::Destroyed => Ok(true),
        Life::Absorbed(by) => is_past(core, stored, by),
    }
}
