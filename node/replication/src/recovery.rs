//! From a log and a state to running groups.
//!
//! 1. Every partition of the state must be known to the log: a log that was lost is not a new one.
//! 2. Generation by generation: whoever was born by a split comes when its parent has applied the split, again if need be.
//!    Until then what its log says does not belong to the rows that are there.
//!    What the state's files say was absorbed does not come any more; what has to be absorbed again comes, and the absorber
//!    waits for it ([`crate::merge`]).
//!    What comes along with a snapshot that is installed again comes last.
//! 3. Groups whose destruction was cut short are destroyed; the others are opened: a snapshot whose installation was cut short is installed, and a
//!    partition whose birth had not been flushed is born again from the group's record.
//! 4. Each group's sole voter is elected, all with one sync, and the log is applied from where the state stands. Where
//!    others vote too, the replica waits for them, and votes for nobody for one election timeout: it has forgotten what
//!    it promised.

use std::sync::Arc;

use partita_partition::Partition;
use partita_partition::descriptor::{GroupId, LogPosition, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::row::{self, MetaKind};
use partita_partition::storage::{Batch as _, Family, Storage, Tier};
use partita_partition::transfer;

use crate::core::Core;
use crate::driver::{Driver, DriverError, Start};
use crate::group::Group;
use crate::install::{self, InstallError};
use crate::ledger::Ledger;
use crate::log::{GroupRecord, Life, LogBatch, LogChange, LogError, Parent, StoredGroup};
use crate::members::{Members, UnknownMembers};
use crate::merge;
use crate::planted::{self, Bug};
use crate::replica::{Parts, Replica};
use crate::writer::{self, Fatal};

/// Why a store could not be recovered, or a group not be made or destroyed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("group {group}: {error}")]
    Driver { group: u64, error: DriverError },
    #[error("group {group}: {error}")]
    Partition { group: u64, error: PartitionError },
    #[error("{0}")]
    Fatal(#[from] Fatal),
    #[error("group {group}: installing a snapshot: {error}")]
    Install { group: u64, error: InstallError },
    #[error("group {group}: {error}")]
    Members { group: u64, error: UnknownMembers },
    #[error("the state holds group {0}, which the log does not know: the log is missing or belongs to another store")]
    UnknownGroup(u64),
    #[error("group {0} has lost its state: its log begins behind its birth")]
    StateLost(u64),
}

/// Recovers every group.
pub(crate) fn recover<S: Storage>(core: &Arc<Core<S>>) -> Result<(), RecoveryError> {
    let mut stored = core.log.groups()?;
    stored.sort_by_key(|group| group.record.born);
    *core.ledger.lock() = Ledger::read(&stored);
    let descriptors = Partition::list(&*core.storage).map_err(failed(GroupId(0)))?;
    let coming = install::coming_along(core, &stored).map_err(failed_install(GroupId(0)))?;
    for descriptor in &descriptors {
        let group = descriptor.group;
        if !stored.iter().any(|stored| stored.id == group) && !coming.contains(&group) {
            return Err(RecoveryError::UnknownGroup(descriptor.group.0));
        }
    }
    drop_chunks(core, &stored)?;
    commit_splits(&mut stored);
    merge::bury_at_start(core, &mut stored)?;
    while !stored.is_empty() {
        let waits = |group: &StoredGroup| {
            let parent = group.record.parent.filter(|_| !planted::has(Bug::LineageIgnored));
            parent.is_some_and(|parent| is_to_come(core, &stored, parent))
        };
        let (behind, generation): (Vec<_>, Vec<_>) = stored.clone().into_iter().partition(waits);
        // Whoever was born by a split was born behind its parent, and a merge was made of groups that were there: so there is
        // always one that waits for nobody. If that is not so, what is missing says so when it is opened.
        let (behind, generation) = match generation.is_empty() {
            true => (Vec::new(), behind),
            false => (behind, generation),
        };
        recover_generation(core, generation)?;
        stored = behind;
    }
    // Children that have come along with snapshots whose installation was cut short: the log knows of them only now.
    let mut carried = core.log.groups()?;
    carried.retain(|group| group.record.life == Life::Alive && core.group(group.id).is_none());
    let ids: Vec<GroupId> = carried.iter().map(|group| group.id).collect();
    recover_generation(core, carried)?;
    ids.into_iter().for_each(|id| core.ledger.lock().release(id));
    Ok(())
}

/// A snapshot that was not complete begins anew.
fn drop_chunks<S: Storage>(core: &Core<S>, stored: &[StoredGroup]) -> Result<(), LogError> {
    let incomplete = stored.iter().filter(|group| group.staged && group.installing.is_none());
    let drops: LogBatch = incomplete.map(|group| LogChange::DropChunks(group.id)).collect();
    if !drops.is_empty() {
        core.log.write(&drops)?;
    }
    Ok(())
}

fn failed_install(group: GroupId) -> impl Fn(InstallError) -> RecoveryError {
    move |error| RecoveryError::Install { group: group.0, error }
}

/// Whether a parent has not come to its split: it is not open yet, or stands before a merge whose source is not.
fn is_to_come<S: Storage>(core: &Core<S>, stored: &[StoredGroup], parent: Parent) -> bool {
    if stored.iter().any(|other| other.id == parent.group) {
        return true;
    }
    let Some(group) = core.group(parent.group) else {
        return false;
    };
    group.applied_index() < parent.index && group.replica.lock().is_stalled()
}

/// A child's record was written once the split was committed: its parent may not know that any more, but has to come to the
/// split before the child goes on. The same with an absorbed group and the merge.
fn commit_splits(stored: &mut [StoredGroup]) {
    let parents = stored.iter().filter_map(|group| group.record.parent);
    let absorbed = stored.iter().filter_map(|group| match group.record.life {
        Life::Absorbed(by) => Some(by),
        Life::Alive | Life::Destroying | Life::Destroyed => None,
    });
    for parent in parents.chain(absorbed).collect::<Vec<_>>() {
        if let Some(group) = stored.iter_mut().find(|group| group.id == parent.group)
            && parent.index <= group.last
            && !planted::has(Bug::LineageIgnored)
        {
            group.hard_state.commit = group.hard_state.commit.max(parent.index);
        }
    }
}

/// Recovers groups none of which is the parent of another.
fn recover_generation<S: Storage>(core: &Arc<Core<S>>, stored: Vec<StoredGroup>) -> Result<(), RecoveryError> {
    let mut groups = Vec::new();
    for group in &stored {
        match group.record.life {
            // One whose record is written only now, by the split that is applied again, is there already.
            // One whose absorption was not flushed is absorbed again.
            Life::Alive | Life::Absorbed(_) if core.group(group.id).is_none() => {
                groups.push(open_group(core, group, Coming::Back)?);
            }
            Life::Alive | Life::Absorbed(_) | Life::Destroyed => {}
            Life::Destroying => finish_destruction(core, group.id, &group.record)?,
        }
    }
    core.groups
        .write()
        .extend(groups.iter().map(|group| (group.id(), Arc::clone(group))));
    writer::apply(core, writer::persist(core, &groups)?, true)?;
    settle(core)?;
    Ok(())
}

/// Runs the groups that are there, without the log writer's thread, until everything they have is applied, but for merges
/// whose sources come with a later generation.
fn settle<S: Storage>(core: &Arc<Core<S>>) -> Result<(), Fatal> {
    loop {
        let mut groups = core.groups();
        groups.retain(|group| group.replica.lock().wants_turn());
        if groups.is_empty() {
            return Ok(());
        }
        writer::apply(core, writer::persist(core, &groups)?, true)?;
    }
}

/// How a replica comes to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coming {
    /// It is born now, and is to stand for election.
    First,
    /// It is born now, and waits for who stands for election.
    Born,
    /// It was here before.
    Back,
}

/// Opens a group. A sole voter is elected; it serves once its first entry has been written and applied.
pub(crate) fn open_group<S: Storage>(
    core: &Arc<Core<S>>,
    stored: &StoredGroup,
    coming: Coming,
) -> Result<Arc<Group<S>>, RecoveryError> {
    let id = stored.id;
    let (partition, members) = open_partition(core, stored)?;
    let Partition {
        reader,
        evaluator,
        applier,
    } = partition;
    let driver_failed = |error| RecoveryError::Driver { group: id.0, error };
    let (own, applied) = (stored.record.replica, applier.at());
    let start = Start {
        applied,
        members: &members,
        now: (core.elapsed)(),
        seed: core.seed ^ id.0.rotate_left(32) ^ own,
        // A sole voter as far as the state knows may be one of many by what its log has.
        may_have_promised: coming == Coming::Back,
    };
    let driver = Driver::new(Arc::clone(&core.log), stored, &start).map_err(driver_failed)?;
    let campaigns = members.is_sole_voter(own) || coming == Coming::First;
    let mut replica = Replica::new(Parts {
        group: id,
        id: own,
        limits: core.limits,
        storage: Arc::clone(&core.storage),
        driver,
        evaluator,
        members: Arc::new(members),
        applied: applied.index,
        log_bytes: (stored.last, stored.bytes),
    });
    if campaigns {
        replica.campaign().map_err(driver_failed)?;
    }
    let (core, record) = (Arc::clone(core), stored.record.clone());
    Ok(Group::new(core, id, record, reader, applier, replica))
}

/// The partition as the state has it, and the group's members as of that.
fn open_partition<S: Storage>(
    core: &Arc<Core<S>>,
    stored: &StoredGroup,
) -> Result<(Partition<S>, Members), RecoveryError> {
    let id = stored.id;
    let birth = birth_descriptor(id, &stored.record)?;
    let open = || Partition::open(Arc::clone(&core.storage), birth.table, id).map_err(failed(id));
    if let Some(mark) = &stored.installing {
        // Where it is not there any more, the first attempt has removed all of it, and its children's rows are theirs.
        let old = open()?.map(|partition| partition.reader.descriptor());
        // Children that come along are opened at the end.
        install::install(core, (id, stored.record.replica), old.as_deref(), mark).map_err(failed_install(id))?;
    }
    let partition = match open()? {
        Some(partition) => partition,
        None if stored.truncated.index > stored.record.start.index || stored.record.parent.is_some() => {
            return Err(RecoveryError::StateLost(id.0));
        }
        None => {
            create(core, &birth, &stored.record)?;
            open()?.ok_or(RecoveryError::StateLost(id.0))?
        }
    };
    let key = row::meta(birth.table, id, MetaKind::Members);
    let row = core.storage.get(Family::Meta, &key, Tier::All);
    let row = row.map_err(|error| failed(id)(error.into()))?;
    let members = match row {
        Some(row) => Members::decode(&row).map_err(|error| RecoveryError::Members { group: id.0, error })?,
        None => stored.record.members.clone(),
    };
    Ok((partition, members.at_home(core.uuid)))
}

/// The last entry that the state has applied of a group; 0 where it has nothing of it.
pub(crate) fn applied_index<S: Storage>(core: &Core<S>, stored: &StoredGroup) -> Result<u64, RecoveryError> {
    let birth = birth_descriptor(stored.id, &stored.record)?;
    let head = transfer::head(&*core.storage, birth.table, stored.id).map_err(failed(stored.id))?;
    Ok(head.map_or(0, |head| head.at.index))
}

/// Writes the partition as it was at birth.
fn create<S: Storage>(core: &Core<S>, birth: &PartitionDescriptor, record: &GroupRecord) -> Result<(), RecoveryError> {
    let id = birth.group;
    let at = LogPosition {
        index: record.start.index,
        term: record.start.term,
    };
    let mut batch = core.storage.batch();
    Partition::<S>::create_at(&mut batch, birth, at).map_err(failed(id))?;
    let members = record.members.encode();
    let members = members.map_err(|error| RecoveryError::Members { group: id.0, error })?;
    batch.put(Family::Meta, &row::meta(birth.table, id, MetaKind::Members), &members);
    core.storage.write(batch).map_err(|error| failed(id)(error.into()))
}

/// Removes the rows of a group whose tombstone is durable. Done again from the start after a crash.
pub(crate) fn finish_destruction<S: Storage>(
    core: &Core<S>,
    id: GroupId,
    record: &GroupRecord,
) -> Result<(), RecoveryError> {
    let descriptor = birth_descriptor(id, record)?;
    let mut batch = core.storage.batch();
    Partition::destroy(&*core.storage, &mut batch, &descriptor).map_err(failed(id))?;
    core.storage.write(batch).map_err(|error| failed(id)(error.into()))?;
    // Only when its rows are gone for good may the log forget what would bring them back.
    core.storage.flush().map_err(|error| failed(id)(error.into()))?;
    let record = GroupRecord {
        life: Life::Destroyed,
        ..record.clone()
    };
    core.log.write(&vec![
        LogChange::Clear(id),
        LogChange::DropChunks(id),
        LogChange::Record(id, record),
    ])?;
    Ok(())
}

fn birth_descriptor(id: GroupId, record: &GroupRecord) -> Result<PartitionDescriptor, RecoveryError> {
    postcard::from_bytes(&record.descriptor).map_err(|error| {
        RecoveryError::Log(LogError::Corrupt {
            what: "descriptor",
            group: id.0,
            reason: error.to_string(),
        })
    })
}

fn failed(group: GroupId) -> impl Fn(PartitionError) -> RecoveryError {
    move |error| RecoveryError::Partition { group: group.0, error }
}
