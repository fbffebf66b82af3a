//! Installing a snapshot whose chunks are staged in the log, under a mark that makes a restart do it again.
//!
//! 1. The rows of the partition, as it was here and as the snapshot has it, are cleared, and those of partitions that it
//!    has absorbed since it was here.
//! 2. The chunks' rows are written, then descriptor, counters, position and members.
//! 3. The state is flushed: from here on the snapshot is durable.
//! 4. Mark and chunks are removed from the log.

use std::sync::Arc;

use partita_partition::Partition;
use partita_partition::descriptor::{GroupId, LogPosition, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::row::{self, MetaKind};
use partita_partition::storage::{Batch as _, Family, Storage};
use partita_partition::transfer;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::log::{Installing, LogChange, LogError};
use crate::members::{Members, UnknownMembers};
use crate::replica::Installed;

/// Why a snapshot could not be installed. It is fatal for the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Partition(#[from] PartitionError),
    #[error("the head of a snapshot: {0}")]
    Head(String),
}

impl From<UnknownMembers> for InstallError {
    fn from(error: UnknownMembers) -> Self {
        Self::Head(error.to_string())
    }
}

/// The formats of a head: its first byte. Since the second one it names groups that were absorbed; written is the first one
/// where there are none.
const FORMAT: u8 = 2;
const FIRST_FORMAT: u8 = 1;

/// The first chunk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    descriptor: Vec<u8>,
    state: Vec<u8>,
    members: Vec<u8>,
    absorbed: Vec<(GroupId, LogPosition)>,
}

/// The first format of a head.
#[derive(Serialize, Deserialize)]
struct FirstHead {
    descriptor: Vec<u8>,
    state: Vec<u8>,
    members: Vec<u8>,
}

impl Head {
    pub(crate) fn encode(head: &transfer::Head, members: &Members) -> Result<Vec<u8>, InstallError> {
        let (descriptor, state, members) = (head.descriptor.clone(), head.state.clone(), members.encode()?);
        let absorbed = head.absorbed.clone();
        let encoded = if absorbed.is_empty() {
            let head = FirstHead {
                descriptor,
                state,
                members,
            };
            postcard::to_extend(&head, vec![FIRST_FORMAT])
        } else {
            let head = Self {
                descriptor,
                state,
                members,
                absorbed,
            };
            postcard::to_extend(&head, vec![FORMAT])
        };
        encoded.map_err(|error| InstallError::Head(error.to_string()))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, InstallError> {
        let unreadable = |error: postcard::Error| InstallError::Head(error.to_string());
        match bytes.split_first() {
            Some((&FORMAT, content)) => postcard::from_bytes(content).map_err(unreadable),
            Some((&FIRST_FORMAT, content)) => {
                let first: FirstHead = postcard::from_bytes(content).map_err(unreadable)?;
                Ok(Self {
                    descriptor: first.descriptor,
                    state: first.state,
                    members: first.members,
                    absorbed: Vec::new(),
                })
            }
            _ => Err(InstallError::Head("its format is unknown".to_owned())),
        }
    }

    pub(crate) fn descriptor(&self) -> Result<PartitionDescriptor, InstallError> {
        Ok(partita_partition::descriptor::from_stored(&self.descriptor)?)
    }

    pub(crate) fn members(&self) -> Result<Members, InstallError> {
        Ok(Members::decode(&self.members)?)
    }

    /// Groups that the partition has absorbed, each with the entry of its log that froze it: what is here of them goes with
    /// the installation.
    pub(crate) fn absorbed(&self) -> &[(GroupId, LogPosition)] {
        &self.absorbed
    }
}

/// Installs the staged snapshot of a group; `old` is the partition as it was.
pub(crate) fn install<S: Storage>(
    core: &Core<S>,
    group: GroupId,
    old: &PartitionDescriptor,
    mark: &Installing,
) -> Result<Installed, InstallError> {
    let storage = &*core.storage;
    let head = Head::decode(&core.log.chunk(group, 0)?)?;
    let descriptor = head.descriptor()?;
    let write = |batch| storage.write(batch).map_err(PartitionError::from);
    let mut batch = storage.batch();
    for (source, _) in head.absorbed() {
        if let Some(source) = transfer::head(storage, descriptor.table, *source)? {
            Partition::destroy(storage, &mut batch, &source.descriptor()?)?;
        }
    }
    Partition::destroy(storage, &mut batch, old)?;
    Partition::destroy(storage, &mut batch, &descriptor)?;
    write(batch)?;
    for number in 1..mark.chunks {
        let mut batch = storage.batch();
        transfer::import(&mut batch, &descriptor, &core.log.chunk(group, number)?)?;
        write(batch)?;
    }
    let mut batch = storage.batch();
    let key = |kind| row::meta(descriptor.table, group, kind);
    batch.put(Family::Meta, &key(MetaKind::Descriptor), &head.descriptor);
    batch.put(Family::Meta, &key(MetaKind::State), &head.state);
    batch.put(Family::Meta, &key(MetaKind::Members), &head.members);
    write(batch)?;
    storage.flush().map_err(PartitionError::from)?;
    let unmark = [LogChange::Installing(group, None), LogChange::DropChunks(group)];
    core.log.write(&unmark.to_vec())?;
    Ok(Installed {
        at: mark.at,
        members: Arc::new(head.members()?),
    })
}
