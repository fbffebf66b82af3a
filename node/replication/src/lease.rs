//! The leader's lease: until when nobody else can have been elected.
//!
//! 1. Everything a leader sends carries the time of sending, and answers echo it.
//! 2. Who answered had reset its election clock after that time: it promised to vote for nobody else for one election
//!    timeout of its own clock. [`Lease::confirm`] notes since when each follower keeps its promise.
//! 3. The newest time that a quorum of the configuration in force (of both, while it is joint) has confirmed begins the
//!    lease; it lasts [`LEASE_NS`].
//!
//! Two things break promises. A voter that starts has forgotten its own: it grants no vote for one whole election
//! timeout (`crate::driver`). And a vote that the leader itself asked for by `TimeoutNow` is granted at once: from then
//! on there is no lease in this term ([`Lease::give_up`]).

use crate::members::{Members, ReplicaId};
use crate::time::LEASE_NS;

/// What a leader knows of another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Follower {
    replica: ReplicaId,
    /// It confirmed something that was sent at this time.
    confirmed: u64,
    /// When it was last heard of.
    heard: u64,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    followers: Vec<Follower>,
    given_up: bool,
    until: u64,
}

impl Lease {
    /// A term begins: nothing of an older one counts.
    pub(crate) fn begin(&mut self) {
        *self = Self::default();
    }

    /// There is no lease any more in this term.
    pub(crate) fn give_up(&mut self) {
        self.given_up = true;
        self.until = 0;
    }

    /// A replica answered, in this term, something that was sent at `echo`.
    pub(crate) fn confirm(&mut self, replica: ReplicaId, echo: u64, now: u64) {
        match self.followers.iter_mut().find(|follower| follower.replica == replica) {
            Some(follower) => {
                follower.confirmed = follower.confirmed.max(echo.min(now));
                follower.heard = now;
            }
            None => self.followers.push(Follower {
                replica,
                confirmed: echo.min(now),
                heard: now,
            }),
        }
    }

    /// Computes the lease anew: something was confirmed, or the members have changed.
    pub(crate) fn renew(&mut self, members: &Members, own: ReplicaId) {
        if self.given_up {
            return;
        }
        let [voters, outgoing] = members.voting();
        let mut since = self.agreed(&voters, own);
        if !outgoing.is_empty() {
            since = since.min(self.agreed(&outgoing, own));
        }
        self.until = match since {
            0 => 0,
            // Nobody else votes.
            u64::MAX => u64::MAX,
            since => since.saturating_add(LEASE_NS),
        };
    }

    /// The newest time of sending that a majority of these confirmed; `u64::MAX` when the leader is one by itself.
    fn agreed(&self, voters: &[ReplicaId], own: ReplicaId) -> u64 {
        let mut times: Vec<u64> = voters.iter().map(|voter| self.confirmed(*voter, own)).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(voters.len() / 2).copied().unwrap_or(0)
    }

    fn confirmed(&self, replica: ReplicaId, own: ReplicaId) -> u64 {
        if replica == own {
            return u64::MAX;
        }
        let follower = self.followers.iter().find(|follower| follower.replica == replica);
        follower.map_or(0, |follower| follower.confirmed)
    }

    /// The lease holds before this time.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// When a replica was last heard of in this term; 0 when it was not.
    pub(crate) fn heard(&self, replica: ReplicaId) -> u64 {
        let follower = self.followers.iter().find(|follower| follower.replica == replica);
        follower.map_or(0, |follower| follower.heard)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::members::{ChangeEntry, MemberChange};

    fn members(voters: u128) -> Members {
        let stores: Vec<_> = (1..=voters).map(Uuid::from_u128).collect();
        Members::voters(&stores)
    }

    #[test]
    fn it_counts_from_the_sending_that_a_quorum_confirmed() {
        let mut lease = Lease::default();
        let five = members(5);
        lease.confirm(2, 100, 200);
        lease.renew(&five, 1);
        assert_eq!(lease.until(), 0);
        lease.confirm(4, 150, 210);
        lease.renew(&five, 1);
        assert_eq!(lease.until(), 100 + LEASE_NS);
        // An older confirmation that comes late changes nothing; one from the future counts from now.
        lease.confirm(2, 50, 220);
        lease.confirm(3, 900, 230);
        lease.renew(&five, 1);
        assert_eq!(lease.until(), 150 + LEASE_NS);
        lease.give_up();
        lease.confirm(5, 240, 250);
        lease.renew(&five, 1);
        assert_eq!(lease.until(), 0);
        lease.begin();
        lease.renew(&members(1), 1);
        assert_eq!(lease.until(), u64::MAX);
    }

    #[test]
    fn a_joint_configuration_needs_both_majorities() {
        let add = MemberChange::AddLearner {
            store: Uuid::from_u128(9),
        };
        let mut joint = members(3);
        for change in [add, MemberChange::Replace { add: 4, remove: 2 }] {
            let (id, epoch) = (Uuid::nil(), joint.epoch);
            joint = joint.apply(&ChangeEntry { id, epoch, change }).unwrap();
        }
        let mut lease = Lease::default();
        lease.confirm(2, 100, 100);
        lease.renew(&joint, 1);
        assert_eq!(lease.until(), 0);
        lease.confirm(4, 50, 100);
        lease.renew(&joint, 1);
        assert_eq!(lease.until(), 50 + LEASE_NS);
    }
}
