//! Installing a snapshot whose chunks are staged in the log, under a mark that makes a restart do it again. It is done in steps:
//! the log writer takes one in each of its turns, and other groups theirs in between.
//!
//! 1. The rows of the partition, as it was here and as the snapshot has it, are cleared, and those of partitions that it
//!    has absorbed since it was here.
//! 2. The chunks' rows are written, then descriptor, counters, position and members. So are those of children that were split
//!    off meanwhile and do not live yet: whoever is past a split has its child, or a quorum of the child's voters has.
//! 3. The state is flushed: from here on the snapshot is durable.
//! 4. Mark and chunks are removed from the log, and the children's records are in it.

use std::collections::BTreeSet;
use std::sync::Arc;

use partita_model::schema::TableId;
use partita_partition::Partition;
use partita_partition::descriptor::{GroupId, LogPosition, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::row::{self, MetaKind};
use partita_partition::storage::{Batch, Family, Storage, View};
use partita_partition::transfer;
use serde::{Deserialize, Serialize};

use crate::births::{self, BIRTH};
use crate::core::Core;
use crate::log::{Installing, LogBatch, LogChange, LogError, Parent, StoredGroup, Truncated};
use crate::members::{Members, ReplicaId, UnknownMembers};
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
    #[error("a snapshot of entry {} is staged where the log goes on behind entry {}", staged.index, mark.index)]
    Other { staged: LogPosition, mark: Truncated },
}

impl From<UnknownMembers> for InstallError {
    fn from(error: UnknownMembers) -> Self {
        Self::Head(error.to_string())
    }
}

/// The formats of a head: its first byte. Since the second one it names groups that were absorbed, since the third one it has
/// children that travel along; written is the first one that has what there is.
const FORMAT: u8 = 3;
const SECOND_FORMAT: u8 = 2;
const FIRST_FORMAT: u8 = 1;
/// The first byte of a chunk with a child's rows: behind it the child's group, then a chunk as any other.
const CHILD_CHUNK: u8 = 255;
const CHILD_CHUNK_HEAD: usize = 1 + size_of::<u64>();

/// The first chunk of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    descriptor: Vec<u8>,
    state: Vec<u8>,
    members: Vec<u8>,
    absorbed: Vec<(GroupId, LogPosition)>,
    children: Vec<Unborn>,
}

/// A child that was split off and has not come to life, as far as the sender knows: what it begins with is there, and nothing
/// else ever was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unborn {
    descriptor: Vec<u8>,
    state: Vec<u8>,
    members: Vec<u8>,
}

/// The second format of a head.
#[derive(Serialize, Deserialize)]
struct SecondHead {
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

impl Unborn {
    pub(crate) fn descriptor(&self) -> Result<PartitionDescriptor, PartitionError> {
        partita_partition::descriptor::from_stored(&self.descriptor)
    }
}

/// Which of these children have not come to life, in a view of the state.
pub(crate) fn unborn(view: &impl View, table: TableId, children: &[GroupId]) -> Result<Vec<Unborn>, PartitionError> {
    let mut unborn = Vec::new();
    for child in children {
        let head = transfer::head(view, table, *child)?.filter(|head| head.at.index == BIRTH.index);
        if let Some(head) = head
            && let Some(members) = head.members
        {
            unborn.push(Unborn {
                descriptor: head.descriptor,
                state: head.state,
                members,
            });
        }
    }
    Ok(unborn)
}

/// A chunk of a child's rows, as it travels with its parent's.
pub(crate) fn of_child(child: GroupId, chunk: &[u8]) -> Vec<u8> {
    [&[CHILD_CHUNK][..], &child.0.to_le_bytes(), chunk].concat()
}

/// Whose rows a chunk has, and the chunk.
fn whose(group: GroupId, chunk: &[u8]) -> (GroupId, &[u8]) {
    child_of(chunk).map_or((group, chunk), |child| (child, &chunk[CHILD_CHUNK_HEAD..]))
}

/// Of which child a chunk has rows, unless they are the partition's own.
pub(crate) fn child_of(chunk: &[u8]) -> Option<GroupId> {
    match chunk.split_first_chunk::<CHILD_CHUNK_HEAD>() {
        Some(([CHILD_CHUNK, child @ ..], _)) => Some(GroupId(u64::from_le_bytes(*child))),
        _ => None,
    }
}

impl Head {
    pub(crate) fn encode(
        head: &transfer::Head,
        members: &Members,
        children: Vec<Unborn>,
    ) -> Result<Vec<u8>, InstallError> {
        let (descriptor, state, members) = (head.descriptor.clone(), head.state.clone(), members.encode()?);
        let absorbed = head.absorbed.clone();
        let encoded = if !children.is_empty() {
            let head = Self {
                descriptor,
                state,
                members,
                absorbed,
                children,
            };
            postcard::to_extend(&head, vec![FORMAT])
        } else if !absorbed.is_empty() {
            let head = SecondHead {
                descriptor,
                state,
                members,
                absorbed,
            };
            postcard::to_extend(&head, vec![SECOND_FORMAT])
        } else {
            let head = FirstHead {
                descriptor,
                state,
                members,
            };
            postcard::to_extend(&head, vec![FIRST_FORMAT])
        };
        encoded.map_err(|error| InstallError::Head(error.to_string()))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, InstallError> {
        let unreadable = |error: postcard::Error| InstallError::Head(error.to_string());
        let (second, children) = match bytes.split_first() {
            Some((&FORMAT, content)) => return postcard::from_bytes(content).map_err(unreadable),
            Some((&SECOND_FORMAT, content)) => (postcard::from_bytes(content).map_err(unreadable)?, Vec::new()),
            Some((&FIRST_FORMAT, content)) => {
                let first: FirstHead = postcard::from_bytes(content).map_err(unreadable)?;
                let second = SecondHead {
                    descriptor: first.descriptor,
                    state: first.state,
                    members: first.members,
                    absorbed: Vec::new(),
                };
                (second, Vec::new())
            }
            _ => return Err(InstallError::Head("its format is unknown".to_owned())),
        };
        Ok(Self {
            descriptor: second.descriptor,
            state: second.state,
            members: second.members,
            absorbed: second.absorbed,
            children,
        })
    }

    pub(crate) fn descriptor(&self) -> Result<PartitionDescriptor, InstallError> {
        Ok(partita_partition::descriptor::from_stored(&self.descriptor)?)
    }

    /// Children that travel along.
    pub(crate) fn children(&self) -> Result<BTreeSet<GroupId>, InstallError> {
        let ids = self.children.iter().map(|child| Ok(child.descriptor()?.group));
        ids.collect()
    }

    pub(crate) fn members(&self) -> Result<Members, InstallError> {
        Ok(Members::decode(&self.members)?)
    }

    /// The last entry that is applied in it.
    fn at(&self) -> Result<LogPosition, InstallError> {
        Ok(transfer::applied(&self.state)?)
    }

    /// Groups that the partition has absorbed, each with the entry of its log that froze it: what is here of them goes with
    /// the installation.
    pub(crate) fn absorbed(&self) -> &[(GroupId, LogPosition)] {
        &self.absorbed
    }
}

/// Installs the staged snapshot of a group, for the replica of that number; `old` is the partition as it was, if anything is
/// left of it: what was its range at any other time may be another group's by now.
pub(crate) fn install<S: Storage>(
    core: &Core<S>,
    of: (GroupId, ReplicaId),
    old: Option<&PartitionDescriptor>,
    mark: &Installing,
) -> Result<Installed, InstallError> {
    let mut progress = Progress::begin(core, of, old, mark)?;
    while !progress.step(core, usize::MAX)? {}
    progress.finish(core)
}

/// An installation that has begun. Between its steps the log writer has time for other groups.
pub(crate) struct Progress {
    group: GroupId,
    mark: Installing,
    head: Head,
    descriptor: PartitionDescriptor,
    children: Vec<Child>,
    /// The chunk to come next.
    next: u64,
}

impl Progress {
    /// Clears what was there.
    pub(crate) fn begin<S: Storage>(
        core: &Core<S>,
        (group, own): (GroupId, ReplicaId),
        old: Option<&PartitionDescriptor>,
        mark: &Installing,
    ) -> Result<Self, InstallError> {
        let storage = &*core.storage;
        let head = Head::decode(&core.log.chunk(group, 0)?)?;
        let at = head.at()?;
        if (at.index, at.term) != (mark.at.index, mark.at.term) {
            // Whatever is staged is not what was put in the log's place.
            return Err(InstallError::Other {
                staged: at,
                mark: mark.at,
            });
        }
        let descriptor = head.descriptor()?;
        let by = Parent {
            group,
            index: mark.at.index,
        };
        let children = to_be_born(core, &head, by, own)?;
        let mut batch = storage.batch();
        for (source, _) in head.absorbed() {
            if let Some(source) = transfer::head(storage, descriptor.table, *source)? {
                Partition::destroy(storage, &mut batch, &source.descriptor()?)?;
            }
        }
        if let Some(old) = old {
            Partition::destroy(storage, &mut batch, old)?;
        }
        Partition::destroy(storage, &mut batch, &descriptor)?;
        for child in &children {
            Partition::destroy(storage, &mut batch, &child.descriptor)?;
        }
        storage.write(batch).map_err(PartitionError::from)?;
        Ok(Self {
            group,
            mark: *mark,
            head,
            descriptor,
            children,
            next: 1,
        })
    }

    /// Writes the rows of the next chunks, about so many bytes of them. True when there are no more.
    pub(crate) fn step<S: Storage>(&mut self, core: &Core<S>, bytes_max: usize) -> Result<bool, InstallError> {
        let mut bytes = 0;
        while self.next < self.mark.chunks && bytes < bytes_max {
            let chunk = core.log.chunk(self.group, self.next)?;
            self.next += 1;
            bytes += chunk.len();
            let (whose, rows) = whose(self.group, &chunk);
            if whose == self.group || self.children.iter().any(|child| child.descriptor.group == whose) {
                let mut batch = core.storage.batch();
                transfer::import(&mut batch, &self.descriptor, rows)?;
                core.storage.write(batch).map_err(PartitionError::from)?;
            }
        }
        Ok(self.next >= self.mark.chunks)
    }

    /// Writes what the partition knows of itself, and makes all of it durable.
    pub(crate) fn finish<S: Storage>(self, core: &Core<S>) -> Result<Installed, InstallError> {
        let (head, group) = (&self.head, self.group);
        let mut batch = core.storage.batch();
        put_head(
            &mut batch,
            &self.descriptor,
            [&head.descriptor, &head.state, &head.members],
        );
        for Child { descriptor, unborn, .. } in &self.children {
            put_head(
                &mut batch,
                descriptor,
                [&unborn.descriptor, &unborn.state, &unborn.members],
            );
        }
        core.storage.write(batch).map_err(PartitionError::from)?;
        core.storage.flush().map_err(PartitionError::from)?;
        let mut unmark = vec![LogChange::Installing(group, None), LogChange::DropChunks(group)];
        let mut born = Vec::new();
        for child in self.children {
            unmark.extend(child.changes);
            born.push(child.stored);
        }
        core.log.write(&unmark)?;
        Ok(Installed {
            at: self.mark.at,
            members: Arc::new(self.head.members()?),
            children: born,
        })
    }
}

fn put_head(batch: &mut impl Batch, descriptor: &PartitionDescriptor, [own, state, members]: [&[u8]; 3]) {
    let key = |kind| row::meta(descriptor.table, descriptor.group, kind);
    batch.put(Family::Meta, &key(MetaKind::Descriptor), own);
    batch.put(Family::Meta, &key(MetaKind::State), state);
    batch.put(Family::Meta, &key(MetaKind::Members), members);
}

/// A child that comes along.
struct Child {
    descriptor: PartitionDescriptor,
    unborn: Unborn,
    stored: StoredGroup,
    changes: LogBatch,
}

/// Which children are born with the installation: of which a replica of this number is a member here, and never was here, and
/// whose keys are nobody's. (Of one that has lived elsewhere meanwhile, without the sender's knowing, they may be somebody's.)
fn to_be_born<S: Storage>(core: &Core<S>, head: &Head, by: Parent, own: ReplicaId) -> Result<Vec<Child>, InstallError> {
    let mut absorbed: Vec<GroupId> = head.absorbed().iter().map(|absorbed| absorbed.0).collect();
    absorbed.push(by.group);
    let here = Partition::list(&*core.storage)?;
    let mut children = Vec::new();
    for unborn in &head.children {
        let (descriptor, members) = (unborn.descriptor()?, Members::decode(&unborn.members)?);
        let id = descriptor.group;
        let is_taken = |other: &PartitionDescriptor| {
            other.group != id && !absorbed.contains(&other.group) && other.overlaps(&descriptor)
        };
        let mut ledger = core.ledger.lock();
        let awaited = ledger.known(id).is_none() && members.member(own).is_some_and(|member| member.store == core.uuid);
        if !awaited || here.iter().any(is_taken) || core.reserve(&mut ledger, &descriptor, &absorbed).is_err() {
            continue;
        }
        // Its keys stay reserved until it is open.
        let (stored, changes) = births::record_carried(own, members, by, ledger.bear(id), &descriptor)?;
        children.push(Child {
            descriptor,
            unborn: unborn.clone(),
            stored,
            changes,
        });
    }
    Ok(children)
}

/// Children that come along with snapshots whose installation was cut short: the state may have them, and the log does not know
/// them yet.
pub(crate) fn coming_along<S: Storage>(core: &Core<S>, stored: &[StoredGroup]) -> Result<Vec<GroupId>, InstallError> {
    let mut coming = Vec::new();
    for group in stored.iter().filter(|group| group.installing.is_some()) {
        let head = Head::decode(&core.log.chunk(group.id, 0)?)?;
        for child in &head.children {
            coming.push(child.descriptor()?.group);
        }
    }
    Ok(coming)
}
