//! Handing the leadership over, without anybody noticing but by the time it takes.
//!
//! 1. From the moment at which it is wanted nothing new is evaluated: whoever asks waits until the next leader is known
//!    ([`super::hold`]).
//! 2. What is in flight is applied and answered. If it were still in the log only, its callers could not be told what became
//!    of it: the new leader has it, and this replica no longer hears of it.
//! 3. Then the other one is asked to take over ([`Replica::advance_hand_over`]).
//! 4. Where that does not happen within an election timeout, this replica goes on leading.

use partita_model::request::Refusal;
use partita_partition::storage::Storage;

use super::Replica;
use crate::members::{MembershipError, ReplicaId};
use crate::time::ELECTION_NS;

/// A hand-over on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandOver {
    to: ReplicaId,
    /// The other one has been asked.
    asked: bool,
    /// When what is in flight has to be applied.
    until: u64,
}

impl<S: Storage> Replica<S> {
    /// Hands the leadership over to the voter that has most of the log, if there is one that is alive. False when there
    /// is nobody, or nothing to hand over.
    pub(crate) fn hand_over(&mut self, now: u64) -> bool {
        if !self.is_leader() || self.ended {
            return false;
        }
        if self.is_handing_over() {
            return true;
        }
        let voters = self.members.voting()[0].clone();
        let others = voters
            .into_iter()
            .filter(|voter| *voter != self.id && self.is_alive(*voter, now));
        match others.max_by_key(|voter| self.driver.matched(*voter)) {
            Some(to) => {
                self.begin_hand_over(to, now);
                true
            }
            None => false,
        }
    }

    /// Hands the leadership over to a voter; it has happened when this replica leads no longer.
    pub(crate) fn transfer(&mut self, to: ReplicaId, now: u64) -> Result<(), MembershipError> {
        if let Some(refusal) = self.idle_reason() {
            return Err(refusal.into());
        }
        if !self.members.voting()[0].contains(&to) {
            return Err(MembershipError::NoSuchMember(to));
        }
        match self.handing_over {
            Some(under_way) if under_way.to == to => {}
            // There is no calling it back: it may be about to win its election.
            Some(under_way) if under_way.asked => return Err(Refusal::NotLeader.into()),
            _ if to == self.id => {
                self.handing_over = None;
                self.release_held();
            }
            _ => self.begin_hand_over(to, now),
        }
        Ok(())
    }

    fn begin_hand_over(&mut self, to: ReplicaId, now: u64) {
        self.wake();
        let until = now.saturating_add(ELECTION_NS);
        self.handing_over = Some(HandOver {
            to,
            asked: false,
            until,
        });
        self.hold_for_successor(now);
        self.advance_hand_over();
    }

    /// Whether the leadership is on its way to another replica.
    pub(super) fn is_handing_over(&self) -> bool {
        self.handing_over.is_some() || self.driver.is_transferring()
    }

    /// Asks the other one, once nothing is in flight.
    pub(super) fn advance_hand_over(&mut self) {
        let in_flight = !self.open.is_empty() || !self.proposed.is_empty();
        if let Some(hand_over) = self.handing_over.as_mut().filter(|one| !one.asked && !in_flight) {
            hand_over.asked = true;
            self.driver.transfer(hand_over.to);
        }
    }

    /// Goes on leading, where a hand-over has come to nothing.
    pub(super) fn end_failed_hand_over(&mut self, now: u64) {
        let transferring = self.driver.is_transferring();
        let failed = |one: &HandOver| if one.asked { !transferring } else { now >= one.until };
        if self.handing_over.take_if(|one| failed(one)).is_some() {
            self.release_held();
        }
    }
}
