//! How groups come to a store, and go.
//!
//! 1. [`Store::bootstrap`] makes a group of this store alone, [`Store::bootstrap_among`] this store's part of a group of
//!    several, [`Store::admit`] room for a replica that was added to one.
//! 2. A birth is a record in the log, then rows in the state; a crash in between is made good at the next start.
//! 3. A split's child is born in the same way, by the log writer ([`record_child`], then [`open_child`]): its record is
//!    durable before the cut is in the state. When the cut is applied again after a crash, what is there stays as it is. Who
//!    gets past a split by a snapshot bears the child by that, as long as it does not live ([`crate::install`]).
//! 4. A merge ends its source wherever it is applied: see [`crate::merge`].
//! 5. [`Store::destroy`] ends a replica: a tombstone first, then its rows go. The tombstone keeps the number: only a newer
//!    replica of the group can ever come here again.

use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::descriptor::{GroupId, LogPosition, PartitionDescriptor};
use partita_partition::split::SplitRecord;
use partita_partition::storage::Storage;
use raft::eraftpb::HardState;
use uuid::Uuid;

use crate::core::Core;
use crate::group::Group;
use crate::ledger::Known;
use crate::log::{GroupRecord, Life, LogBatch, LogChange, LogError, Parent, StoredGroup, Truncated};
use crate::members::{FIRST_REPLICA, Members, ReplicaId};
use crate::planted::{self, Bug};
use crate::recovery::{self, Coming, RecoveryError};
use crate::store::Store;

/// Where the log of a group begins that is born on several stores: behind an entry that nobody has, so that whoever is
/// added later needs a snapshot, in which it learns who the members are.
pub(crate) const BIRTH: Truncated = Truncated { index: 1, term: 1 };

/// Held while groups come and go by request.
#[derive(Default)]
pub(crate) struct Births {
    pub(crate) closed: bool,
}

/// How a replica is to be born.
struct Birth {
    replica: ReplicaId,
    members: Members,
    start: Truncated,
    parent: Option<Parent>,
}

impl Birth {
    /// As a split's child, by a replica of that number of its parent, which has applied this entry.
    fn of_child(replica: ReplicaId, members: Members, parent: Parent) -> Self {
        Self {
            replica,
            members,
            start: BIRTH,
            parent: Some(parent),
        }
    }

    fn stored(self, born: u64, descriptor: &PartitionDescriptor) -> Result<StoredGroup, LogError> {
        let descriptor_bytes = postcard::to_stdvec(descriptor)
            .map_err(|error| LogError::Engine(format!("encoding a descriptor: {error}")))?;
        let record = GroupRecord {
            born,
            replica: self.replica,
            members: self.members,
            start: self.start,
            descriptor: descriptor_bytes,
            life: Life::Alive,
            parent: self.parent,
        };
        let hard_state = HardState {
            term: self.start.term,
            commit: self.start.index,
            ..HardState::default()
        };
        Ok(StoredGroup {
            id: descriptor.group,
            record,
            hard_state,
            truncated: self.start,
            terms: Vec::new(),
            last: self.start.index,
            bytes: 0,
            installing: None,
            staged: false,
        })
    }
}

/// What makes a birth durable.
fn changes(stored: &StoredGroup) -> LogBatch {
    let mut batch = vec![LogChange::Record(stored.id, stored.record.clone())];
    if stored.truncated != Truncated::default() {
        let (group, from, to) = (stored.id, Truncated::default(), stored.truncated);
        batch.push(LogChange::HardState(group, stored.hard_state.clone()));
        batch.push(LogChange::Truncate { group, from, to });
    }
    batch
}

impl<S: Storage> Store<S> {
    /// Brings a group to life; durable, and serving, on return. A group that exists already is returned as it is.
    /// Blocks for two syncs.
    ///
    /// # Errors
    /// `WrongRange` for a group that was destroyed (an id is never used again), and where another group of this store has
    /// some of its keys. `OutOfSpace` below the reserve.
    pub fn bootstrap(&self, descriptor: PartitionDescriptor) -> Result<Arc<Group<S>>, Refusal> {
        let births = self.births.lock();
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
            parent: None,
        };
        let group = self.give_birth(&births, &descriptor, birth, Coming::First)?;
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
    /// `WrongRange` for a group that was destroyed here, when this store is not among them, and where another group of
    /// this store has some of its keys.
    pub fn bootstrap_among(&self, descriptor: PartitionDescriptor, stores: &[Uuid]) -> Result<Arc<Group<S>>, Refusal> {
        if stores == [self.core.uuid] {
            return self.bootstrap(descriptor);
        }
        let births = self.births.lock();
        let members = Members::voters(stores);
        let replica = members.on_store(self.core.uuid).ok_or(Refusal::WrongRange)?.replica;
        if let Some(group) = self.group(descriptor.group) {
            return Ok(group);
        }
        let birth = Birth {
            replica,
            members,
            start: BIRTH,
            parent: None,
        };
        let coming = if replica == FIRST_REPLICA {
            Coming::First
        } else {
            Coming::Born
        };
        self.join(&births, &descriptor, birth, coming)
    }

    /// Makes room for a replica that was added to a group (`MemberChange::AddLearner` said which number it has): it waits
    /// for the leader's snapshot. One that exists already is returned as it is.
    ///
    /// # Errors
    /// `WrongRange` for a number that is not above those that the group's replicas had here, while an older replica is
    /// still here (it has to be destroyed first), and while another group of this store has some of the keys: a parent that
    /// has not come to its split yet, which will bear the group.
    pub fn admit(&self, descriptor: PartitionDescriptor, replica: ReplicaId) -> Result<Arc<Group<S>>, Refusal> {
        let births = self.births.lock();
        if let Some(group) = self.group(descriptor.group) {
            let same = group.record().replica == replica;
            return if same { Ok(group) } else { Err(Refusal::WrongRange) };
        }
        let birth = Birth {
            replica,
            members: Members::default(),
            start: Truncated::default(),
            parent: None,
        };
        self.join(&births, &descriptor, birth, Coming::Born)
    }

    fn join(
        &self,
        births: &Births,
        descriptor: &PartitionDescriptor,
        birth: Birth,
        coming: Coming,
    ) -> Result<Arc<Group<S>>, Refusal> {
        let group = self.give_birth(births, descriptor, birth, coming)?;
        group.enqueue();
        self.core.deliver_waiting(group.id());
        self.core.changed();
        Ok(group)
    }

    fn give_birth(
        &self,
        births: &Births,
        descriptor: &PartitionDescriptor,
        birth: Birth,
        coming: Coming,
    ) -> Result<Arc<Group<S>>, Refusal> {
        let id = descriptor.group;
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping);
        }
        if self.core.space.is_low() {
            return Err(Refusal::OutOfSpace);
        }
        let born = {
            let mut ledger = self.core.ledger.lock();
            if ledger.known(id) == Some(Known::Alive) || birth.replica <= ledger.tombstone(id) {
                return Err(Refusal::WrongRange);
            }
            if let Err(other) = self.core.reserve(&mut ledger, descriptor, &[]) {
                tracing::warn!(
                    group = id.0,
                    other = other.0,
                    "a group is not made: another one has some of its keys"
                );
                return Err(Refusal::WrongRange);
            }
            ledger.bear(id)
        };
        let write_birth = || -> Result<Arc<Group<S>>, RecoveryError> {
            let stored = birth.stored(born, descriptor)?;
            self.core.log.write(&changes(&stored))?;
            recovery::open_group(&self.core, &stored, coming)
        };
        let group = write_birth().map_err(|error| self.fail(&error))?;
        self.core.groups.write().insert(id, Arc::clone(&group));
        self.core.ledger.lock().release(id);
        Ok(group)
    }

    /// Ends a group and removes its rows; nothing happens when there is none. Blocks for two flushes. Once this has
    /// returned, and also when the process dies on the way behind the first sync, the group never comes back.
    pub fn destroy(&self, id: GroupId) -> Result<(), Refusal> {
        self.destroy_if(id, |_| true)
    }

    /// The same for this replica of the group: nothing happens where another one is here. An order that comes late, or again,
    /// does not hit the one that came after it.
    pub fn destroy_replica(&self, id: GroupId, replica: ReplicaId) -> Result<(), Refusal> {
        self.destroy_if(id, |here| here == replica)
    }

    fn destroy_if(&self, id: GroupId, meant: impl Fn(ReplicaId) -> bool) -> Result<(), Refusal> {
        let births = self.births.lock();
        let group = self.group(id).filter(|group| meant(group.record().replica));
        let Some(group) = group else { return Ok(()) };
        if births.closed || self.core.has_failed() {
            return Err(Refusal::Stopping);
        }
        group.end(Refusal::WrongRange);
        // Behind the fence nothing of the group is on its way to the log or to the state.
        if !self.pass_fence() {
            return Err(Refusal::Stopping);
        }
        // It may have been absorbed meanwhile: its range is its neighbour's.
        if !self.group(id).is_some_and(|now| Arc::ptr_eq(&now, &group)) {
            return Ok(());
        }
        let tombstone = GroupRecord {
            descriptor: postcard::to_stdvec(&*group.descriptor()).map_err(|error| self.fail(&error))?,
            life: Life::Destroying,
            ..group.record().clone()
        };
        let entomb = || -> Result<(), RecoveryError> {
            // A tombstone ends the group's log. What its splits have made of it must not need that log any more.
            // Nor must what it has absorbed, and nobody would remember that it has.
            self.core.flush_and_bury()?;
            self.core.log.write(&vec![LogChange::Record(id, tombstone.clone())])?;
            recovery::finish_destruction(&self.core, id, &tombstone)
        };
        entomb().map_err(|error| self.fail(&error))?;
        self.core.ledger.lock().destroyed(id, tombstone.replica);
        self.core.merging.lock().forget(id);
        self.core.groups.write().remove(&id);
        self.core.changed();
        Ok(())
    }
}

/// A split's child on its way.
pub(crate) struct Child {
    /// Its record, when it is born now; `None` when it was before.
    born: Option<StoredGroup>,
    /// It was here before, and was destroyed: its parent has come back by a snapshot from before the cut.
    pub(crate) gone: bool,
    /// Where its log begins.
    pub(crate) at: LogPosition,
    /// Its members in stored form.
    pub(crate) members: Vec<u8>,
    /// Whether it is to stand for election: it is born on the store of the parent's leader.
    pub(crate) first: bool,
}

/// Makes a child's record durable, before the cut is written, unless there is one.
pub(crate) fn record_child<S: Storage>(
    core: &Core<S>,
    parent: &Group<S>,
    index: u64,
    split: &SplitRecord,
) -> Result<Child, RecoveryError> {
    let (_, descriptor) = split.cut(&parent.descriptor());
    let members = parent.members().of_child();
    let stored_members = members.encode();
    let stored_members = stored_members.map_err(|error| RecoveryError::Members {
        group: split.child.0,
        error,
    })?;
    let mut gone = false;
    let known = {
        let mut ledger = core.ledger.lock();
        let known = ledger.known(split.child);
        if known.is_none() || planted::has(Bug::ChildOverwritten) {
            // Its keys are the parent's until the cut is applied: nobody else can have any.
            let born = ledger.bear(split.child);
            drop(ledger);
            let by = Parent {
                group: parent.id(),
                index,
            };
            let birth = Birth::of_child(parent.record().replica, members, by);
            let stored = birth.stored(born, &descriptor)?;
            core.log.write(&changes(&stored))?;
            Some(stored)
        } else {
            gone = matches!(known, Some(Known::Destroyed(_)));
            None
        }
    };
    Ok(Child {
        born: known,
        gone,
        at: LogPosition {
            index: BIRTH.index,
            term: BIRTH.term,
        },
        members: stored_members,
        first: parent.replica.lock().is_leader(),
    })
}

/// Opens a child once the cut is applied. One that was born before is opened by the recovery that is under way.
pub(crate) fn open_child<S: Storage>(core: &Arc<Core<S>>, child: Child) -> Result<(), RecoveryError> {
    let Some(stored) = child.born else { return Ok(()) };
    let coming = if child.first { Coming::First } else { Coming::Born };
    open_born(core, &stored, coming)
}

/// A child that has come along with a snapshot of its parent: its record, which becomes durable together with that, and what
/// does so.
pub(crate) fn record_carried(
    replica: ReplicaId,
    members: Members,
    parent: Parent,
    born: u64,
    descriptor: &PartitionDescriptor,
) -> Result<(StoredGroup, LogBatch), LogError> {
    let stored = Birth::of_child(replica, members, parent).stored(born, descriptor)?;
    let batch = changes(&stored);
    Ok((stored, batch))
}

/// Opens a child whose record and rows are there.
pub(crate) fn open_born<S: Storage>(
    core: &Arc<Core<S>>,
    stored: &StoredGroup,
    coming: Coming,
) -> Result<(), RecoveryError> {
    let group = recovery::open_group(core, stored, coming)?;
    core.groups.write().insert(stored.id, Arc::clone(&group));
    core.ledger.lock().release(stored.id);
    group.enqueue();
    core.deliver_waiting(stored.id);
    core.changed();
    Ok(())
}
