//! The log writer: one thread for all groups of a store.
//!
//! 1. [`persist`]: the queued groups' open entries are proposed and written with one write and one sync. Meanwhile
//!    other writes are evaluated and gather in the next open entries.
//! 2. [`apply`]: what that committed becomes one batch for the state, with the applied positions in it; then everybody
//!    who waited is answered.
//!
//! Both are plain functions of the groups they are given, so that recovery and simulation run them without a thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use partita_model::request::Refusal;
use partita_partition::applier::Applier;
use partita_partition::descriptor::LogPosition;
use partita_partition::error::PartitionError;
use partita_partition::storage::{Storage, StorageError};
use raft::eraftpb::{Entry, EntryType};

use crate::core::Core;
use crate::driver::DriverError;
use crate::frame::{Frame, FrameError};
use crate::group::Group;
use crate::log::LogError;

/// From here on a sync is dear, and worth waiting a part of it for a fuller batch: without that, those who were just
/// answered miss the next sync and every batch is half full. A faster disk is not what limits throughput.
const SLOW_SYNC: Duration = Duration::from_micros(400);
const PATIENCE_PART: u32 = 8;

/// Something that must not fail has failed; the process ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("writing the state: {0}")]
    State(#[from] StorageError),
    #[error("applying entry {index}: {error}")]
    Apply { index: u64, error: PartitionError },
    #[error("reading entry {index}: {error}")]
    Frame { index: u64, error: FrameError },
    #[error("entry {index} changes the group's members, which this version cannot")]
    Membership { index: u64 },
}

/// Committed entries of one group, to be applied.
pub(crate) struct Committed<S: Storage> {
    pub(crate) group: Arc<Group<S>>,
    pub(crate) entries: Vec<Entry>,
}

/// The thread. It ends when it is told to, or when something has failed.
pub(crate) fn run<S: Storage>(core: &Core<S>) {
    let mut expected = 0;
    loop {
        core.queue.wait();
        let sync = core.recorder.last_sync();
        if sync >= SLOW_SYNC {
            core.queue.gather(expected, sync / PATIENCE_PART);
        }
        let turn = core.queue.take();
        let taken = core.queue.open();
        if let Err(fatal) = persist(core, &turn.groups).and_then(|committed| apply(core, committed)) {
            core.fail(&fatal.to_string());
            core.queue.end();
            return;
        }
        // Whoever has been answered is likely to come back at once, to those who came too late for this turn.
        expected = taken + core.queue.open();
        for fence in turn.fences {
            // Whoever asked may have gone away.
            let _ = fence.send(());
        }
        if turn.stop {
            return;
        }
    }
}

/// Makes everything durable that these groups want to be, and says what is committed by that.
pub(crate) fn persist<S: Storage>(core: &Core<S>, groups: &[Arc<Group<S>>]) -> Result<Vec<Committed<S>>, Fatal> {
    let mut batch = Vec::with_capacity(groups.len() * 2);
    let mut gathered = Vec::with_capacity(groups.len());
    let (mut entries, mut effects) = (0, 0);
    for group in groups {
        let mut replica = group.replica.lock();
        core.queue.note_taken(replica.open_effects());
        if let Some(work) = replica.gather(&mut batch)? {
            entries += work.entries;
            effects += work.effects;
            gathered.push((group, work.number));
        }
    }
    if !batch.is_empty() {
        let start = Instant::now();
        let bytes = core.log.write(&batch)?;
        core.recorder.log_written(start.elapsed(), bytes, entries, effects);
        core.space.note_written(bytes);
    }
    drop(batch);
    let mut committed = Vec::with_capacity(gathered.len());
    for (group, number) in gathered {
        let (entries, again) = group.replica.lock().persisted(number);
        if again {
            group.enqueue();
        }
        if !entries.is_empty() {
            let group = Arc::clone(group);
            committed.push(Committed { group, entries });
        }
    }
    Ok(committed)
}

/// Applies committed entries, all groups in one batch, and answers.
pub(crate) fn apply<S: Storage>(core: &Core<S>, committed: Vec<Committed<S>>) -> Result<(), Fatal> {
    if committed.is_empty() {
        return Ok(());
    }
    let start = Instant::now();
    let mut batch = core.storage.batch();
    let mut applied = Vec::with_capacity(committed.len());
    for Committed { group, entries } in committed {
        let mut skipped = Vec::new();
        let mut at = LogPosition::default();
        {
            let mut applier = group.applier.lock();
            let range_epoch = group.descriptor().range_epoch;
            for entry in &entries {
                if let Some(refusal) = add_entry::<S>(&mut applier, &mut batch, entry, range_epoch)? {
                    skipped.push((entry.index, refusal));
                }
                at = LogPosition {
                    index: entry.index,
                    term: entry.term,
                };
            }
            applier.finish(&mut batch, at);
        }
        applied.push((group, at, skipped));
    }
    core.storage.write(batch)?;
    core.recorder.applied(start.elapsed());
    for (group, at, skipped) in applied {
        let before = group.descriptor();
        group.applier.lock().publish();
        if !Arc::ptr_eq(&before, &group.descriptor()) {
            core.changed();
        }
        group.settle(at, &skipped);
    }
    Ok(())
}

/// Adds an entry's rows to the batch, or says why the entry does not count.
fn add_entry<S: Storage>(
    applier: &mut Applier<S>,
    batch: &mut S::Batch,
    entry: &Entry,
    range_epoch: u64,
) -> Result<Option<Refusal>, Fatal> {
    let index = entry.index;
    if entry.get_entry_type() != EntryType::EntryNormal {
        return Err(Fatal::Membership { index });
    }
    // A leader begins its term with an empty entry.
    if entry.data.is_empty() {
        return Ok(None);
    }
    let unreadable = |error| Fatal::Frame { index, error };
    let frame = Frame::parse(&entry.data).map_err(unreadable)?;
    if frame.evaluated().term != entry.term {
        return Ok(Some(Refusal::NotLeader));
    }
    if frame.evaluated().range_epoch != range_epoch {
        return Ok(Some(Refusal::WrongRange));
    }
    for effect in frame.effects() {
        let effect = effect.map_err(unreadable)?;
        applier
            .apply(batch, effect)
            .map_err(|error| Fatal::Apply { index, error })?;
    }
    Ok(None)
}
