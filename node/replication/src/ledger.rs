//! What a store knows of groups that ever were here, and which keys are whose: no two groups of a store have a key in
//! common, so that none can write (or clear) another's rows.
//!
//! 1. A group that is to come, by a birth or by a snapshot of a larger range than it has here, reserves its keys first.
//! 2. A reservation ends when the group serves (then its descriptor speaks for it), or when it did not come after all.

use std::collections::HashMap;

use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::storage::Storage;

use crate::core::Core;
use crate::log::{GroupRecord, Life, Parent, StoredGroup};
use crate::members::ReplicaId;

/// See the module's header.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The place in the order of births of the last one.
    last_born: u64,
    /// All groups that were ever born here; of those that were destroyed, the highest number that a replica had.
    known: HashMap<GroupId, Known>,
    /// What groups are about to have.
    reserved: HashMap<GroupId, PartitionDescriptor>,
    /// Groups that were absorbed, by which entry of another one: until that is flushed their logs stay.
    absorbed: HashMap<GroupId, (Parent, GroupRecord)>,
}

/// What is known of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Alive,
    Destroyed(ReplicaId),
}

impl Ledger {
    /// What the log says.
    pub(crate) fn read(stored: &[StoredGroup]) -> Self {
        let known = stored.iter().map(|group| {
            let known = match group.record.life {
                // One that has to be absorbed again is here until it is.
                Life::Alive | Life::Absorbed(_) => Known::Alive,
                Life::Destroying | Life::Destroyed => Known::Destroyed(group.record.replica),
            };
            (group.id, known)
        });
        Self {
            last_born: stored.iter().map(|group| group.record.born).max().unwrap_or(0),
            known: known.collect(),
            reserved: HashMap::new(),
            absorbed: HashMap::new(),
        }
    }

    pub(crate) fn known(&self, group: GroupId) -> Option<Known> {
        self.known.get(&group).copied()
    }

    /// The highest number that a replica of a destroyed group had here; 0 for others.
    pub(crate) fn tombstone(&self, group: GroupId) -> ReplicaId {
        match self.known(group) {
            Some(Known::Destroyed(replica)) => replica,
            Some(Known::Alive) | None => 0,
        }
    }

    /// Numbers a birth.
    pub(crate) fn bear(&mut self, group: GroupId) -> u64 {
        self.last_born += 1;
        self.known.insert(group, Known::Alive);
        self.last_born
    }

    pub(crate) fn destroyed(&mut self, group: GroupId, replica: ReplicaId) {
        self.known.insert(group, Known::Destroyed(replica));
        self.reserved.remove(&group);
    }

    /// A group is part of another one now. Its log stays for a while.
    pub(crate) fn absorbed(&mut self, group: GroupId, record: GroupRecord, by: Parent) {
        self.destroyed(group, record.replica);
        self.absorbed.insert(group, (by, record));
    }

    /// Groups whose logs stay because they were absorbed.
    pub(crate) fn unburied(&self) -> Vec<(GroupId, Parent, GroupRecord)> {
        let absorbed = self.absorbed.iter();
        absorbed
            .map(|(group, (by, record))| (*group, *by, record.clone()))
            .collect()
    }

    /// Nothing is left of a group that was absorbed.
    pub(crate) fn buried(&mut self, group: GroupId) {
        self.absorbed.remove(&group);
    }

    /// The group's descriptor speaks for it from now on (or it did not come).
    pub(crate) fn release(&mut self, group: GroupId) {
        self.reserved.remove(&group);
    }
}

impl<S: Storage> Core<S> {
    /// Reserves the keys of a descriptor for its group, in place of what it had reserved before. The group that has some of
    /// them, if there is one: then nothing is reserved. Groups that it `absorbs` by coming here do not count.
    pub(crate) fn reserve(
        &self,
        ledger: &mut Ledger,
        descriptor: &PartitionDescriptor,
        absorbs: &[GroupId],
    ) -> Result<(), GroupId> {
        let own = descriptor.group;
        let groups = self.groups();
        let others = groups
            .iter()
            .filter(|group| group.id() != own && !absorbs.contains(&group.id()));
        if let Some(other) = others.into_iter().find(|group| group.descriptor().overlaps(descriptor)) {
            return Err(other.id());
        }
        let serving = |id: &GroupId| groups.iter().find(|group| group.id() == *id);
        let taken = ledger.reserved.iter().find(|(id, reserved)| {
            // A snapshot that was given up, or installed, reserves nothing.
            let counts = serving(id).is_none_or(|group| group.is_receiving());
            **id != own && counts && !absorbs.contains(id) && reserved.overlaps(descriptor)
        });
        if let Some((other, _)) = taken {
            return Err(*other);
        }
        ledger.reserved.insert(own, descriptor.clone());
        Ok(())
    }
}
