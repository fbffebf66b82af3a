//! Changes of the group's members, at the leader that proposes them and at every replica that applies them.

use std::sync::Arc;

use partita_model::request::Refusal;
use partita_partition::storage::Storage;
use raft::eraftpb::ConfChangeV2;
use uuid::Uuid;

use super::{Proposed, Replica};
use crate::driver::DriverError;
use crate::fate::{Fate, Waiting};
use crate::members::{ChangeEntry, Changed, MemberChange, Members, MembershipError, ReplicaId, Role};
use crate::stats::Progress;
use crate::time::ELECTION_NS;

/// A learner that lacks no more than this many entries has caught up: what a group writes within a round trip or two.
const BEHIND_ENTRIES_MAX: u64 = 64;

/// A change of membership that is applied with a batch of entries.
pub(crate) struct Applied {
    /// What raft-rs is told.
    pub(crate) change: ConfChangeV2,
    /// The members after it.
    pub(crate) members: Arc<Members>,
}

/// What a wish for a change comes to.
pub(crate) enum Wish {
    /// It was made before.
    Made(Changed),
    /// It is on its way.
    Proposed(Waiting),
}

impl<S: Storage> Replica<S> {
    /// Proposes a change, once for each id; only if the epoch is the expected one.
    pub(crate) fn change_members(
        &mut self,
        id: Uuid,
        expected: Option<u64>,
        change: MemberChange,
        now: u64,
    ) -> Result<Wish, MembershipError> {
        if let Some(refusal) = self.idle_reason() {
            return Err(refusal.into());
        }
        if let Some(changed) = self.members.changed(id) {
            return Ok(Wish::Made(changed));
        }
        if self.frozen {
            return Err(MembershipError::Frozen);
        }
        // A step of a merge was evaluated for the members that there are.
        if self.has_unsettled_members() || self.is_handing_over() || self.turning.is_some() {
            return Err(MembershipError::Busy);
        }
        let epoch = self.members.epoch;
        if let Some(expected) = expected.filter(|expected| *expected != epoch) {
            return Err(MembershipError::StaleEpoch { expected, epoch });
        }
        let entry = ChangeEntry { id, epoch, change };
        self.check(&entry, now)?;
        let waiting = self.propose_change(&entry).map_err(|_| Refusal::NotLeader)?;
        Ok(Wish::Proposed(waiting))
    }

    /// Whether the members are about to change.
    pub(crate) fn has_unsettled_members(&self) -> bool {
        self.driver.has_pending_change() || self.members.is_joint()
    }

    /// Voters that are not known to have this entry.
    pub(crate) fn lacking(&self, index: u64) -> Vec<ReplicaId> {
        let mut voters = self.members.voting()[0].clone();
        voters.retain(|voter| *voter != self.id && self.driver.matched(*voter) < index);
        voters
    }

    fn propose_change(&mut self, entry: &ChangeEntry) -> Result<Waiting, DriverError> {
        self.wake();
        let index = self.driver.propose_change(entry, &self.members)?;
        let fate: Arc<Fate> = Arc::default();
        let waiting = fate.wait();
        self.proposed.push_back(Proposed {
            index,
            bytes: 0,
            effects: 0,
            last: self.proposed.back().map_or(0, |proposed| proposed.last),
            fate,
        });
        Ok(waiting)
    }

    /// Whether a change fits the members, and leaves a quorum that is alive.
    fn check(&self, entry: &ChangeEntry, now: u64) -> Result<(), MembershipError> {
        match entry.change {
            MemberChange::AddLearner { store } => {
                if self.members.on_store(store).is_some() {
                    return Err(MembershipError::StoreTaken);
                }
            }
            MemberChange::Promote { replica } => self.check_caught_up(replica, now)?,
            MemberChange::Remove { replica } => self.check_not_leading(replica)?,
            MemberChange::Replace { add, remove } => {
                self.check_not_leading(remove)?;
                self.check_caught_up(add, now)?;
            }
            MemberChange::Leave => return Err(MembershipError::Busy),
        }
        let next = self.members.apply(entry);
        let next = next.ok_or_else(|| MembershipError::NoSuchMember(subject(entry.change)))?;
        for voters in next.voting().iter().filter(|voters| !voters.is_empty()) {
            let alive = voters.iter().filter(|voter| self.is_alive(**voter, now)).count();
            let quorum = voters.len() / 2 + 1;
            if alive < quorum {
                return Err(MembershipError::QuorumLost { alive, quorum });
            }
        }
        Ok(())
    }

    fn check_not_leading(&self, replica: ReplicaId) -> Result<(), MembershipError> {
        match replica == self.id {
            true => Err(MembershipError::Leads),
            false => Ok(()),
        }
    }

    fn check_caught_up(&self, replica: ReplicaId, now: u64) -> Result<(), MembershipError> {
        let member = self.members.member(replica);
        if member.is_none_or(|member| member.role != Role::Learner) {
            return Err(MembershipError::NoSuchMember(replica));
        }
        let (matched, last) = (self.driver.matched(replica), self.driver.last());
        if matched + BEHIND_ENTRIES_MAX < last || matched == 0 || !self.is_alive(replica, now) {
            return Err(MembershipError::Behind { matched, last });
        }
        Ok(())
    }

    /// At the leader: how far the others are.
    pub(crate) fn progress(&self, now: u64) -> Vec<Progress> {
        if !self.is_leader() {
            return Vec::new();
        }
        let others = self.others();
        let progress = others.map(|replica| Progress {
            replica,
            matched: self.driver.matched(replica),
            alive: self.is_alive(replica, now),
        });
        progress.collect()
    }

    /// While the group rests nobody says anything: it rests because all were alive, and the loss of a store wakes it.
    pub(super) fn is_alive(&self, replica: ReplicaId, now: u64) -> bool {
        replica == self.id || self.resting || now.saturating_sub(self.lease.heard(replica)) < ELECTION_NS
    }

    /// A change has been applied to the state.
    pub(super) fn members_applied(&mut self, applied: Applied) -> Result<(), DriverError> {
        self.driver.apply_change(&applied.change)?;
        self.take_members(applied.members);
        let votes = self.members.voting().iter().any(|voters| voters.contains(&self.id));
        if self.is_leader() && !votes {
            self.driver.step_down();
        }
        Ok(())
    }

    /// These are the members from now on.
    pub(super) fn take_members(&mut self, members: Arc<Members>) {
        self.members = members;
        self.lease.renew(&self.members, self.id);
        let known = self.members.next_replica;
        self.strangers.retain(|stranger| stranger.0 >= known);
        let members = &self.members;
        self.sending.retain(|sending| members.member(sending.to).is_some());
    }

    /// Ends a joint configuration, as soon as it is in force.
    pub(super) fn leave_joint(&mut self) -> Result<(), DriverError> {
        let wants = self.serving && self.members.is_joint() && !self.ended;
        if wants && !self.driver.has_pending_change() && !self.is_handing_over() {
            let (id, epoch, change) = (Uuid::nil(), self.members.epoch, MemberChange::Leave);
            self.propose_change(&ChangeEntry { id, epoch, change })?;
        }
        Ok(())
    }
}

fn subject(change: MemberChange) -> ReplicaId {
    match change {
        MemberChange::Promote { replica } | MemberChange::Remove { replica } => replica,
        MemberChange::Replace { remove, .. } => remove,
        MemberChange::AddLearner { .. } | MemberChange::Leave => 0,
    }
}
