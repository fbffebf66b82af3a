//! From a log and a state to running groups.
//!
//! 1. Every partition of the state must be known to the log: a log that was lost is not a new one.
//! 2. Groups whose destruction was cut short are destroyed.
//! 3. The others are opened in the order of their birth; a partition whose birth had not been flushed is born again
//!    from the group's record.
//! 4. Each group's sole voter is elected, all with one sync, and the log is applied from where the state stands.

use std::sync::Arc;

use partita_partition::Partition;
use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::storage::Storage;

use crate::core::Core;
use crate::driver::{Driver, DriverError};
use crate::group::Group;
use crate::log::{GroupRecord, Life, LogChange, LogError, StoredGroup};
use crate::replica::Replica;
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
    #[error("the state holds group {0}, which the log does not know: the log is missing or belongs to another store")]
    UnknownGroup(u64),
    #[error("group {0} has lost its state: its log begins behind its birth")]
    StateLost(u64),
}

/// Recovers every group; answers all that were ever born here, in the order of their birth.
pub(crate) fn recover<S: Storage>(core: &Arc<Core<S>>) -> Result<Vec<StoredGroup>, RecoveryError> {
    let mut stored = core.log.groups()?;
    stored.sort_by_key(|group| group.record.born);
    let descriptors = Partition::list(&*core.storage).map_err(failed(GroupId(0)))?;
    for descriptor in &descriptors {
        if !stored.iter().any(|group| group.id == descriptor.group) {
            return Err(RecoveryError::UnknownGroup(descriptor.group.0));
        }
    }
    let mut groups = Vec::new();
    for group in &stored {
        match group.record.life {
            Life::Alive => groups.push(open_group(core, group)?),
            Life::Destroying => finish_destruction(core, group.id, &group.record)?,
            Life::Destroyed => {}
        }
    }
    core.groups
        .write()
        .extend(groups.iter().map(|group| (group.id(), Arc::clone(group))));
    writer::apply(core, writer::persist(core, &groups)?)?;
    for group in &groups {
        settle(core, group)?;
    }
    Ok(stored)
}

/// Runs a group, without the log writer's thread, until everything it has is applied.
fn settle<S: Storage>(core: &Core<S>, group: &Arc<Group<S>>) -> Result<(), Fatal> {
    loop {
        if !group.replica.lock().wants_turn() {
            return Ok(());
        }
        writer::apply(core, writer::persist(core, std::slice::from_ref(group))?)?;
    }
}

/// Opens a group and has it elected; it serves once its first entry has been written and applied.
pub(crate) fn open_group<S: Storage>(
    core: &Arc<Core<S>>,
    stored: &StoredGroup,
) -> Result<Arc<Group<S>>, RecoveryError> {
    let id = stored.id;
    let descriptor = birth_descriptor(id, &stored.record)?;
    let opened = Partition::open(Arc::clone(&core.storage), descriptor.table, id).map_err(failed(id))?;
    let partition = match opened {
        Some(partition) => partition,
        None if stored.truncated.index > 0 => return Err(RecoveryError::StateLost(id.0)),
        None => {
            let mut batch = core.storage.batch();
            Partition::<S>::create(&mut batch, &descriptor).map_err(failed(id))?;
            core.storage.write(batch).map_err(|error| failed(id)(error.into()))?;
            let opened = Partition::open(Arc::clone(&core.storage), descriptor.table, id).map_err(failed(id))?;
            opened.ok_or(RecoveryError::StateLost(id.0))?
        }
    };
    let Partition {
        reader,
        evaluator,
        applier,
    } = partition;
    let driver_failed = |error| RecoveryError::Driver { group: id.0, error };
    let driver = Driver::new(Arc::clone(&core.log), stored, applier.at().index).map_err(driver_failed)?;
    let mut replica = Replica::new(id, driver, evaluator, (stored.last, stored.bytes));
    replica.campaign().map_err(driver_failed)?;
    let record = stored.record.clone();
    Ok(Arc::new(Group::new(
        Arc::clone(core),
        id,
        record,
        reader,
        applier,
        replica,
    )))
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
    core.log
        .write(&vec![LogChange::Clear(id), LogChange::Record(id, record)])?;
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
