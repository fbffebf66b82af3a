//! How groups come to a store, and go.
//!
//! 1. [`Store::bootstrap`] makes a group of this store alone, [`Store::bootstrap_among`] this store's part of a group of
//!    several, [`Store::admit`] room for a replica that was added to one.
//! 2. A birth is a record in the log, then rows in the state; a crash in between is made good at the next start.
//! 3. [`Store::destroy`] ends a replica: a tombstone first, then its rows go. The tombstone keeps the number: only a newer
//!    replica of the group can ever come here again.

use std::collections::HashMap;
use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::storage::Storage;
use raft::eraftpb::HardState;
use uuid::Uuid;

use crate::group::Group;
use crate::log::{GroupRecord, Life, LogChange, LogError, StoredGroup, Truncated};
use crate::members::{FIRST_REPLICA, Members, ReplicaId};
use crate::recovery::{self, Coming, RecoveryError};
use crate::store::Store;

/// Where the log of a group begins that is born on several stores: behind an entry that nobody has, so that whoever is
/// added later needs a snapshot, in which it learns who the members are.
const BIRTH: Truncated = Truncated { index: 1, term: 1 };

/// What was ever born here.
#[derive(Default)]
pub(crate) struct Births {
    pub(crate) last: u64,
    /// Groups that were destroyed, and the highest number that a replica of theirs had here.
    pub(crate) destroyed: HashMap<GroupId, ReplicaId>,
    pub(crate) closed: bool,
}

/// How a replica is to be born.
struct Birth {
    replica: ReplicaId,
    members: Members,
    start: Truncated,
    coming: Coming,
}

impl<S: Storage> Store<S> {
    /// Brings a group to life; durable, and serving, on return. A group that exists already is returned as it is.
    /// Blocks for two syncs.
    ///
    /// # Errors
    /// `WrongRange` for a group that was destroyed: an id is never used again. `OutOfSpace` below the reserve.
    pub fn bootstrap(&self, descriptor: PartitionDescriptor) -> Result<Arc<Group<S>>, Refusal> {
        let mut births = self.births.lock();
        let id = descriptor.group;
        if let Some(group) = self.group(id) {
            return Ok(group);
        }
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping);
        }
        let birth = Birth {
            replica: FIRST_REPLICA,
            members: Members::voters(&[self.core.uuid]),
            start: Truncated::default(),
            coming: Coming::First,
        };
        let group = self.give_birth(&mut births, &descriptor, birth)?;
        group.enqueue();
        let mut applied = group.subscribe();
        if !self.pass_fence() || applied.borrow_and_update().index == 0 {
            return Err(Refusal::Stopping);
        }
        self.core.changed();
        Ok(group)
    }

    /// Brings a group to life that has a replica, and a vote, on each of these stores: to be called on all of them, with
    /// the same list; the first one stands for election at once. A group that exists already is returned as it is.
    ///
    /// # Errors
    /// `WrongRange` for a group that was destroyed here, and when this store is not among them.
    pub fn bootstrap_among(&self, descriptor: PartitionDescriptor, stores: &[Uuid]) -> Result<Arc<Group<S>>, Refusal> {
        if stores == [self.core.uuid] {
            return self.bootstrap(descriptor);
        }
        let mut births = self.births.lock();
        let members = Members::voters(stores);
        let replica = members.on_store(self.core.uuid).ok_or(Refusal::WrongRange)?.replica;
        if let Some(group) = self.group(descriptor.group) {
            return Ok(group);
        }
        let birth = Birth {
            replica,
            members,
            start: BIRTH,
            coming: if replica == FIRST_REPLICA {
                Coming::First
            } else {
                Coming::Born
            },
        };
        self.join(&mut births, &descriptor, birth)
    }

    /// Makes room for a replica that was added to a group (`MemberChange::AddLearner` said which number it has): it waits
    /// for the leader's snapshot. One that exists already is returned as it is.
    ///
    /// # Errors
    /// `WrongRange` for a number that is not above those that the group's replicas had here, or while an older replica is
    /// still here: it has to be destroyed first.
    pub fn admit(&self, descriptor: PartitionDescriptor, replica: ReplicaId) -> Result<Arc<Group<S>>, Refusal> {
        let mut births = self.births.lock();
        if let Some(group) = self.group(descriptor.group) {
            let same = group.record().replica == replica;
            return if same { Ok(group) } else { Err(Refusal::WrongRange) };
        }
        let birth = Birth {
            replica,
            members: Members::default(),
            start: Truncated::default(),
            coming: Coming::Born,
        };
        self.join(&mut births, &descriptor, birth)
    }

    fn join(
        &self,
        births: &mut Births,
        descriptor: &PartitionDescriptor,
        birth: Birth,
    ) -> Result<Arc<Group<S>>, Refusal> {
        let group = self.give_birth(births, descriptor, birth)?;
        group.enqueue();
        self.deliver_waiting(group.id());
        self.core.changed();
        Ok(group)
    }

    fn give_birth(
        &self,
        births: &mut Births,
        descriptor: &PartitionDescriptor,
        birth: Birth,
    ) -> Result<Arc<Group<S>>, Refusal> {
        let id = descriptor.group;
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping);
        }
        if births
            .destroyed
            .get(&id)
            .is_some_and(|tombstone| birth.replica <= *tombstone)
        {
            return Err(Refusal::WrongRange);
        }
        if self.core.space.is_low() {
            return Err(Refusal::OutOfSpace);
        }
        let born = births.last + 1;
        let group = self
            .write_birth(born, descriptor, birth)
            .map_err(|error| self.fail(&error))?;
        births.last = born;
        births.destroyed.remove(&id);
        self.core.groups.write().insert(id, Arc::clone(&group));
        Ok(group)
    }

    fn write_birth(
        &self,
        born: u64,
        descriptor: &PartitionDescriptor,
        birth: Birth,
    ) -> Result<Arc<Group<S>>, RecoveryError> {
        let descriptor_bytes = postcard::to_stdvec(descriptor)
            .map_err(|error| LogError::Engine(format!("encoding a descriptor: {error}")))?;
        let record = GroupRecord {
            born,
            replica: birth.replica,
            members: birth.members,
            start: birth.start,
            descriptor: descriptor_bytes,
            life: Life::Alive,
        };
        let id = descriptor.group;
        let hard_state = HardState {
            term: birth.start.term,
            commit: birth.start.index,
            ..HardState::default()
        };
        let mut batch = vec![LogChange::Record(id, record.clone())];
        if birth.start != Truncated::default() {
            let (group, from, to) = (id, Truncated::default(), birth.start);
            batch.push(LogChange::HardState(id, hard_state.clone()));
            batch.push(LogChange::Truncate { group, from, to });
        }
        self.core.log.write(&batch)?;
        let stored = StoredGroup {
            id,
            record,
            hard_state,
            truncated: birth.start,
            terms: Vec::new(),
            last: birth.start.index,
            bytes: 0,
            installing: None,
        };
        recovery::open_group(&self.core, &stored, birth.coming)
    }

    /// The highest number that a replica of a destroyed group had here.
    pub(crate) fn tombstone(&self, group: GroupId) -> Option<ReplicaId> {
        self.births.lock().destroyed.get(&group).copied()
    }

    /// Ends a group and removes its rows; nothing happens when there is none. Blocks for a flush. Once this has
    /// returned, and also when the process dies on the way behind the first sync, the group never comes back.
    pub fn destroy(&self, id: GroupId) -> Result<(), Refusal> {
        let mut births = self.births.lock();
        let Some(group) = self.group(id) else { return Ok(()) };
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping);
        }
        group.end(Refusal::WrongRange);
        // Behind the fence nothing of the group is on its way to the log or to the state.
        if !self.pass_fence() {
            return Err(Refusal::Stopping);
        }
        let tombstone = GroupRecord {
            descriptor: postcard::to_stdvec(&*group.descriptor()).map_err(|error| self.fail(&error))?,
            life: Life::Destroying,
            ..group.record().clone()
        };
        let entomb = || -> Result<(), RecoveryError> {
            self.core.log.write(&vec![LogChange::Record(id, tombstone.clone())])?;
            recovery::finish_destruction(&self.core, id, &tombstone)
        };
        entomb().map_err(|error| self.fail(&error))?;
        births.destroyed.insert(id, tombstone.replica);
        self.core.groups.write().remove(&id);
        self.core.changed();
        Ok(())
    }
}
