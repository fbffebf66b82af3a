//! The log writer: one thread for all groups of a store.
//!
//! 1. [`gather`]: the queued groups' open entries are proposed. What their followers need leaves at once, one batch for
//!    each store.
//! 2. [`sync`]: all of it is written with one write and one sync. Meanwhile other writes are evaluated and gather in the
//!    next open entries.
//! 3. [`finish`]: what had to be durable first leaves, again one batch for each store.
//! 4. [`apply`]: what that committed becomes one batch for the state, with the applied positions in it; then everybody
//!    who waited is answered.
//!
//! All are plain functions of the groups they are given, so that recovery and simulation run them without a thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use partita_model::request::Refusal;
use partita_partition::applier::{Applier, Birth};
use partita_partition::descriptor::LogPosition;
use partita_partition::effect::split_of;
use partita_partition::error::PartitionError;
use partita_partition::merge::{MergeRecord, MergeStep, Verdict};
use partita_partition::row::{self, MetaKind};
use partita_partition::split::SplitRecord;
use partita_partition::storage::{Batch as _, Family, Storage, StorageError};
use raft::eraftpb::{Entry, EntryType};

use crate::births::{self, Child};
use crate::core::Core;
use crate::driver::DriverError;
use crate::frame::{Frame, FrameError};
use crate::group::Group;
use crate::install::{InstallError, Progress};
use crate::log::{LogBatch, LogChange, LogError};
use crate::members::{ChangeEntry, Members, UnknownMembers};
use crate::merge::{self, Absorbed};
use crate::message::Outbox;
use crate::planted::{self, Bug};
use crate::recovery::Coming;
use crate::replica::{Applied, Install, Ready};

/// From here on a sync is dear, and worth waiting a part of it for a fuller batch: without that, those who were just
/// answered miss the next sync and every batch is half full. A faster disk is not what limits throughput.
const SLOW_SYNC: Duration = Duration::from_micros(400);
const PATIENCE_PART: u32 = 8;

/// Of a snapshot so much becomes the state in one turn: what a batch of writes may cost, too.
const INSTALL_BYTES: usize = 1 << 20;

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
    #[error("entry {index} changes the group's members: {error}")]
    Membership { index: u64, error: UnknownMembers },
    #[error("installing a snapshot: {0}")]
    Install(#[from] InstallError),
    #[error("the birth of a split's child: {0}")]
    Birth(String),
    #[error("a merge: {0}")]
    Merge(String),
}

/// What one group has to be applied: a snapshot, or committed entries.
pub(crate) struct Committed<S: Storage> {
    pub(crate) group: Arc<Group<S>>,
    pub(crate) install: Option<Install>,
    pub(crate) entries: Vec<Entry>,
}

/// One write and sync of the log, and whose it is.
pub(crate) struct Round<S: Storage> {
    batch: LogBatch,
    gathered: Vec<(Arc<Group<S>>, u64)>,
    entries: u64,
    effects: u64,
}

/// The thread. It ends when it is told to, or when something has failed.
pub(crate) fn run<S: Storage>(core: &Arc<Core<S>>) {
    let mut expected = 0;
    loop {
        core.queue.wait();
        let sync = core.recorder.last_sync();
        if sync >= SLOW_SYNC {
            core.queue.gather(expected, sync / PATIENCE_PART);
        }
        let turn = core.queue.take();
        let taken = core.queue.open();
        // Whoever waits for the end of all that has begun gets it in this turn.
        let whole = !turn.fences.is_empty();
        if let Err(fatal) = persist(core, &turn.groups).and_then(|committed| apply(core, committed, whole)) {
            core.fail(&fatal.to_string());
            core.queue.end();
            return;
        }
        core.queue.done();
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
    let round = gather(core, groups)?;
    sync(core, &round)?;
    Ok(finish(core, round))
}

/// Takes what these groups want to be durable, and sends what need not wait for that.
pub(crate) fn gather<S: Storage>(core: &Core<S>, groups: &[Arc<Group<S>>]) -> Result<Round<S>, Fatal> {
    let mut round = Round {
        batch: Vec::with_capacity(groups.len() * 2),
        gathered: Vec::with_capacity(groups.len()),
        entries: 0,
        effects: 0,
    };
    let mut outbox = Outbox::default();
    let mut absorbs = Vec::new();
    let now = core.now(groups);
    for group in groups {
        let gathered = group.with(|replica| {
            let open = replica.open_effects();
            let gathered = replica.gather(&mut round.batch, &mut outbox, now);
            core.queue.note_taken(open - replica.open_effects());
            gathered
        })?;
        if let Some(gathered) = gathered {
            round.entries += gathered.entries;
            round.effects += gathered.effects;
            round.gathered.push((Arc::clone(group), gathered.number));
            absorbs.extend(gathered.absorbs);
        }
    }
    merge::end_with_snapshot(core, &absorbs, &mut round.batch)?;
    outbox.send(&*core.peers);
    Ok(round)
}

/// Writes and syncs what was gathered.
pub(crate) fn sync<S: Storage>(core: &Core<S>, round: &Round<S>) -> Result<(), Fatal> {
    if !round.batch.is_empty() {
        // A snapshot takes the place of the group's log: what that has made of other groups (a split's child) must not need
        // it any more.
        let clears = |change: &LogChange| matches!(change, LogChange::Clear(_));
        if round.batch.iter().any(clears) && !planted::has(Bug::ClearUnflushed) {
            core.storage.flush()?;
        }
        let start = Instant::now();
        let bytes = core.log.write(&round.batch)?;
        let took = start.elapsed();
        core.recorder.log_written(took, bytes, round.entries, round.effects);
        core.space.note_written(bytes);
    }
    Ok(())
}

/// Sends what waited for the sync, and says what can be applied.
pub(crate) fn finish<S: Storage>(core: &Core<S>, round: Round<S>) -> Vec<Committed<S>> {
    let Round { batch, gathered, .. } = round;
    drop(batch);
    let mut outbox = Outbox::default();
    let mut committed = Vec::with_capacity(gathered.len());
    let now = core.now(gathered.iter().map(|(group, _)| group));
    for (group, number) in gathered {
        let Ready {
            install,
            entries,
            again,
        } = group.with(|replica| replica.persisted(number, &mut outbox, now));
        if again {
            group.enqueue();
        }
        if install.is_some() || !entries.is_empty() {
            committed.push(Committed {
                group,
                install,
                entries,
            });
        }
    }
    outbox.send(&*core.peers);
    committed
}

/// What one group's committed entries come to, while they wait for the batch to be written.
struct Pending<S: Storage> {
    group: Arc<Group<S>>,
    at: LogPosition,
    skipped: Vec<(u64, Refusal)>,
    changes: Vec<Applied>,
}

/// Applies committed entries, all groups in one batch, and answers. A split, or a step of a merge, is applied by itself: what
/// comes before it has to be written, and what comes behind it belongs to another range.
/// A snapshot becomes the state a step at a time, unless the `whole` of it is wanted.
pub(crate) fn apply<S: Storage>(core: &Arc<Core<S>>, committed: Vec<Committed<S>>, whole: bool) -> Result<(), Fatal> {
    let mut committed = committed;
    while !committed.is_empty() {
        // What was absorbed meanwhile has nothing to apply.
        committed.retain(|ready| {
            core.group(ready.group.id())
                .is_some_and(|group| Arc::ptr_eq(&group, &ready.group))
        });
        for ready in &mut committed {
            if let Some(install) = ready.install.take() {
                go_on_installing(core, &ready.group, install, whole)?;
            }
        }
        let mut behind: Vec<_> = committed.iter_mut().filter_map(Committed::cut).collect();
        let (merges, together) = committed.into_iter().partition(Committed::is_merge);
        apply_together(core, together)?;
        for merge in merges {
            apply_merge(core, merge, &mut behind)?;
        }
        committed = behind;
    }
    merge::resume(core);
    Ok(())
}

/// Applies a step of a merge, or puts it back with all that is `behind` it: its source is not there yet.
fn apply_merge<S: Storage>(
    core: &Arc<Core<S>>,
    merge: Committed<S>,
    behind: &mut Vec<Committed<S>>,
) -> Result<(), Fatal> {
    let Some(entry) = merge.entries.first() else {
        return Ok(());
    };
    if !merge::waits(core, &merge.group, entry)? {
        return apply_together(core, vec![merge]);
    }
    let mut entries = merge.entries;
    behind.retain_mut(|ready| {
        let same = Arc::ptr_eq(&ready.group, &merge.group);
        if same {
            entries.append(&mut ready.entries);
        }
        !same
    });
    merge.group.with(|replica| replica.stall(entries));
    Ok(())
}

impl<S: Storage> Committed<S> {
    /// Keeps what can be applied together, and says what comes behind it.
    fn cut(&mut self) -> Option<Self> {
        let alone = self.entries.iter().position(|entry| Frame::is_alone(&entry.data))?;
        let keep = alone.max(1);
        (keep < self.entries.len()).then(|| Self {
            group: Arc::clone(&self.group),
            install: None,
            entries: self.entries.split_off(keep),
        })
    }

    /// Whether it is nothing but a step of a merge.
    fn is_merge(&self) -> bool {
        let first = self.entries.first();
        first.is_some_and(|entry| Frame::looks_like_merge(&entry.data))
    }
}

/// Takes a step of an installation, or all that are left of it.
fn go_on_installing<S: Storage>(
    core: &Arc<Core<S>>,
    group: &Arc<Group<S>>,
    mut install: Install,
    whole: bool,
) -> Result<(), Fatal> {
    let mut progress = match install.progress.take() {
        Some(progress) => progress,
        None => {
            let (own, old) = (group.record().replica, group.descriptor());
            Progress::begin(core, (group.id(), own), Some(&old), &install.mark)?
        }
    };
    let bytes_max = if whole { usize::MAX } else { INSTALL_BYTES };
    if !progress.step(core, bytes_max)? {
        install.progress = Some(progress);
        group.go_on_installing(install);
        return Ok(());
    }
    let mut installed = progress.finish(core)?;
    let children = std::mem::take(&mut installed.children);
    group.install(installed)?;
    core.ledger.lock().release(group.id());
    for child in children {
        let born = births::open_born(core, &child, Coming::Born);
        born.map_err(|error| Fatal::Birth(error.to_string()))?;
    }
    core.changed();
    Ok(())
}

/// Brings an installation that has begun to its end: its group ends otherwise than by itself.
pub(crate) fn end_installing<S: Storage>(group: &Arc<Group<S>>) -> Result<(), Fatal> {
    match group.with(|replica| replica.take_begun_install()) {
        Some(install) => go_on_installing(group.core(), group, install, true),
        None => Ok(()),
    }
}

fn apply_together<S: Storage>(core: &Arc<Core<S>>, committed: Vec<Committed<S>>) -> Result<(), Fatal> {
    let start = Instant::now();
    let mut batch = core.storage.batch();
    let mut applied = Vec::with_capacity(committed.len());
    let mut borders = Borders::default();
    for ready in committed {
        let group = ready.group;
        if !ready.entries.is_empty() {
            applied.push(add_entries(core, &group, &mut batch, &ready.entries, &mut borders)?);
        }
    }
    core.storage.write(batch)?;
    core.recorder.applied(start.elapsed());
    for pending in &applied {
        let before = pending.group.descriptor();
        pending.group.applier.lock().publish();
        if !Arc::ptr_eq(&before, &pending.group.descriptor()) {
            core.changed();
        }
    }
    for absorbed in borders.absorbed {
        merge::close(core, absorbed);
    }
    for child in borders.children {
        births::open_child(core, child).map_err(|error| Fatal::Birth(error.to_string()))?;
    }
    for pending in applied {
        pending.group.settle(pending.at, &pending.skipped, pending.changes)?;
    }
    Ok(())
}

/// Groups that come and go with a batch.
#[derive(Default)]
struct Borders {
    children: Vec<Child>,
    absorbed: Vec<Absorbed>,
}

/// Adds one group's entries to the batch.
fn add_entries<S: Storage>(
    core: &Core<S>,
    group: &Arc<Group<S>>,
    batch: &mut S::Batch,
    entries: &[Entry],
    borders: &mut Borders,
) -> Result<Pending<S>, Fatal> {
    let mut pending = Pending {
        group: Arc::clone(group),
        at: LogPosition::default(),
        skipped: Vec::new(),
        changes: Vec::new(),
    };
    let mut applier = group.applier.lock();
    let descriptor = group.descriptor();
    for entry in entries {
        if entry.get_entry_type() == EntryType::EntryNormal {
            match add_entry::<S>(&mut applier, batch, entry)? {
                Added::Effects => {}
                Added::Skipped(refusal) => pending.skipped.push((entry.index, refusal)),
                Added::Split(split) => {
                    borders
                        .children
                        .push(add_split(core, group, &mut applier, batch, entry.index, &split)?);
                }
                Added::Merge(record, range_epoch) => {
                    let membership_epoch = group.members().epoch;
                    let verdict = applier.verdict(&record, range_epoch, membership_epoch);
                    let unknown = |error| Fatal::Apply {
                        index: entry.index,
                        error,
                    };
                    match verdict.map_err(unknown)? {
                        Verdict::Decided => {}
                        Verdict::Refused => {
                            let refused = applier.refuse(batch, record.id, record.source.group);
                            refused.map_err(unknown)?;
                        }
                        Verdict::Merged => {
                            let absorbed = merge::absorb(core, group, &mut applier, batch, entry.index, &record)?;
                            borders.absorbed.push(absorbed);
                        }
                    }
                }
            }
        } else {
            let before = match pending.changes.last() {
                Some(change) => Arc::clone(&change.members),
                None => group.members(),
            };
            match change(&before, entry)? {
                Some((applied, stored)) => {
                    let key = row::meta(descriptor.table, descriptor.group, MetaKind::Members);
                    batch.put(Family::Meta, &key, &stored);
                    pending.changes.push(applied);
                }
                None => pending.skipped.push((entry.index, Refusal::NotLeader)),
            }
        }
        pending.at = LogPosition {
            index: entry.index,
            term: entry.term,
        };
    }
    applier.finish(batch, pending.at);
    drop(applier);
    if !pending.changes.is_empty() {
        // Before anybody can be told: who was removed may be destroyed then, and is not there to elect those who have
        // forgotten that the change was committed.
        let state = group.replica.lock().hard_state_at(pending.at.index);
        core.log.write(&vec![LogChange::HardState(group.id(), state)])?;
    }
    Ok(pending)
}

/// What an entry makes of the members, and their stored form; `None` when it was made for other members than these.
fn change(before: &Members, entry: &Entry) -> Result<Option<(Applied, Vec<u8>)>, Fatal> {
    let unreadable = |error| Fatal::Membership {
        index: entry.index,
        error,
    };
    let wanted = ChangeEntry::decode(&entry.context).map_err(unreadable)?;
    let Some(members) = before.apply(&wanted) else {
        return Ok(None);
    };
    let stored = members.encode().map_err(unreadable)?;
    let applied = Applied {
        change: wanted.conf_change(before),
        members: Arc::new(members),
    };
    Ok(Some((applied, stored)))
}

/// What an entry comes to.
enum Added {
    /// Its rows are in the batch.
    Effects,
    /// It does not count.
    Skipped(Refusal),
    /// It cuts the partition.
    Split(SplitRecord),
    /// It joins the partition with another one, if it was evaluated in the range epoch that it is applied in.
    Merge(Box<MergeRecord>, u64),
}

/// Adds an entry's rows to the batch, or says why the entry does not count.
fn add_entry<S: Storage>(applier: &mut Applier<S>, batch: &mut S::Batch, entry: &Entry) -> Result<Added, Fatal> {
    let index = entry.index;
    // A leader begins its term with an empty entry.
    if entry.data.is_empty() {
        return Ok(Added::Effects);
    }
    let unreadable = |error| Fatal::Frame { index, error };
    let unknown = |error| Fatal::Apply { index, error };
    let frame = Frame::parse(&entry.data).map_err(unreadable)?;
    if frame.evaluated().term != entry.term && !planted::has(Bug::TermNotChecked) {
        return Ok(Added::Skipped(Refusal::NotLeader));
    }
    if frame.is_merge() {
        let at = LogPosition {
            index,
            term: entry.term,
        };
        return match merge::step(entry)? {
            Some(MergeStep::Merge(record)) => Ok(Added::Merge(record, frame.evaluated().range_epoch)),
            Some(step) => {
                applier.step(batch, &step, at).map_err(unknown)?;
                Ok(Added::Effects)
            }
            None => Err(unknown(PartitionError::UnknownFormat(
                "a merge's entry without a step".to_owned(),
            ))),
        };
    }
    if frame.evaluated().range_epoch != applier.range_epoch() {
        return Ok(Added::Skipped(Refusal::WrongRange));
    }
    for effect in frame.effects() {
        let effect = effect.map_err(unreadable)?;
        if frame.is_split() {
            let split = split_of(effect).map_err(unknown)?;
            let none = || {
                unknown(PartitionError::UnknownFormat(
                    "a split's entry without a split".to_owned(),
                ))
            };
            return Ok(Added::Split(split.ok_or_else(none)?));
        }
        applier.apply(batch, effect).map_err(unknown)?;
    }
    Ok(Added::Effects)
}

/// Cuts the partition in the batch; the child's record is durable before that.
fn add_split<S: Storage>(
    core: &Core<S>,
    group: &Group<S>,
    applier: &mut Applier<S>,
    batch: &mut S::Batch,
    index: u64,
    split: &SplitRecord,
) -> Result<Child, Fatal> {
    let child = births::record_child(core, group, index, split).map_err(|error| Fatal::Birth(error.to_string()))?;
    let birth = Birth {
        at: child.at,
        members: &child.members,
    };
    let cut = applier.split(batch, split, (!child.gone).then_some(&birth));
    cut.map_err(|error| Fatal::Apply { index, error })?;
    Ok(child)
}
