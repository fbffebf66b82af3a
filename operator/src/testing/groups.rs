//! Replication groups in memory, as far as the operator sees them: members, a leader while a quorum is there, changes that a
//! real group would make, and a panic at those that would harm it.

use partita_model::admin::{
    Change, ChangeStep, GroupState, MemberRole, MemberState, ReplicationState, StoreAddress, UNSEEN,
};
use partita_model::partition::PartitionDescriptor;
use partita_model::table::record::PartitionSizes;

/// Entries that every group has.
const COMMITTED: u64 = 10_000;

/// What the replicas of a group agree on.
pub struct FakeGroup {
    /// How often it was made.
    pub made: u32,
    /// The replica that leads.
    pub leader: Option<u64>,
    term: u64,
    epoch: u64,
    next_replica: u64,
    members: Vec<MemberState>,
    /// With which voters it was made.
    voters: Vec<StoreAddress>,
    /// The replicas that are there.
    there: Vec<u64>,
}

fn member(replica: u64, store: &StoreAddress, role: MemberRole) -> MemberState {
    MemberState {
        replica,
        store: store.store.clone(),
        role,
        address: Some(store.address.clone()),
        matched: None,
        alive: None,
    }
}

/// The number of a replica.
pub fn replica_of(state: &GroupState) -> u64 {
    state.replication.replica
}

impl FakeGroup {
    /// That is about to be born.
    pub fn of(voters: &[StoreAddress]) -> Self {
        let numbered = voters.iter().zip(1..);
        Self {
            made: 1,
            leader: None,
            term: 0,
            epoch: 1,
            next_replica: voters.len() as u64 + 1,
            members: numbered
                .map(|(store, replica)| member(replica, store, MemberRole::Voter))
                .collect(),
            voters: voters.to_vec(),
            there: Vec::new(),
        }
    }

    /// That is born of another one by a split: nobody makes it.
    pub fn child(&self) -> Self {
        Self {
            made: 0,
            leader: self.leader,
            term: self.term,
            epoch: self.epoch,
            next_replica: self.next_replica,
            members: self.members.clone(),
            voters: self.voters.clone(),
            there: self.there.clone(),
        }
    }

    /// The stores of the members.
    pub fn stores(&self) -> Vec<String> {
        let mut stores: Vec<String> = self.members.iter().map(|member| member.store.clone()).collect();
        stores.sort();
        stores
    }

    /// A store makes its part: the number of its replica.
    pub fn born(&mut self, store: &str, voters: &[StoreAddress]) -> u64 {
        assert_eq!(self.voters, voters, "a group is made with the same words everywhere");
        let own = self.members.iter().find(|member| member.store == store);
        own.expect("the store is not among the voters").replica
    }

    /// A replica as it is before it has heard anything.
    pub fn replica(descriptor: &PartitionDescriptor, replica: u64) -> GroupState {
        GroupState {
            descriptor: descriptor.clone(),
            leader: false,
            term: 0,
            applied: 0,
            sizes: PartitionSizes::default(),
            replication: ReplicationState {
                replica,
                ..ReplicationState::default()
            },
            load: Default::default(),
            lineage: Default::default(),
        }
    }

    /// The voters.
    pub fn voters(&self) -> impl Iterator<Item = &MemberState> {
        self.members.iter().filter(|member| member.role == MemberRole::Voter)
    }

    /// A member by its number.
    pub fn member(&self, replica: u64) -> Option<&MemberState> {
        self.members.iter().find(|member| member.replica == replica)
    }

    /// These replicas are there.
    pub fn elect(&mut self, there: &[u64]) {
        self.there = there.to_vec();
        let present: Vec<u64> = self
            .voters()
            .map(|voter| voter.replica)
            .filter(|one| there.contains(one))
            .collect();
        if 2 * present.len() <= self.voters().count() {
            self.leader = None;
            return;
        }
        if self.leader.is_none_or(|leader| !present.contains(&leader)) {
            self.leader = present.first().copied();
            self.term += 1;
        }
    }

    /// The replica in a store leads.
    pub fn let_lead(&mut self, store: &str) {
        let replica = self.voters().find(|voter| voter.store == store).unwrap().replica;
        self.hand_over(replica);
    }

    /// It goes on with the replica in a store, the others being lost.
    pub fn recover(&mut self, store: &str) {
        self.members.retain(|member| member.store == store);
        self.epoch += UNSEEN;
        self.leader = self.members.first().map(|member| member.replica);
        self.term += UNSEEN;
    }

    /// Another replica leads.
    pub fn hand_over(&mut self, replica: u64) {
        assert!(self.there.contains(&replica) && self.voters().any(|voter| voter.replica == replica));
        self.leader = Some(replica);
        self.term += 1;
    }

    /// A replica's state as it shows it; new ones have not caught up while they are `slow`.
    pub fn show(&self, state: &mut GroupState, slow: bool) {
        let own = state.replication.replica;
        let Some(role) = self.member(own).map(|member| member.role) else {
            // It was removed, or is of an earlier group, and knows nothing of it.
            state.leader = false;
            state.replication.leader = None;
            return;
        };
        state.leader = self.leader == Some(own);
        (state.term, state.applied) = (self.term, COMMITTED);
        let matched = |member: &MemberState| match slow && member.role == MemberRole::Learner {
            true => 1,
            false => COMMITTED,
        };
        let members = self.members.iter().map(|member| MemberState {
            matched: state.leader.then(|| matched(member)),
            alive: state.leader.then(|| self.there.contains(&member.replica)),
            ..member.clone()
        });
        let heard = self.leader.is_some() && !(slow && role == MemberRole::Learner);
        state.replication = ReplicationState {
            replica: own,
            leader: self.leader,
            membership_epoch: if heard { self.epoch } else { 0 },
            joint: false,
            members: if heard { members.collect() } else { Vec::new() },
            committed: COMMITTED,
            flushed: COMMITTED,
            in_flight: 0,
            resting: true,
        };
    }

    /// A change at the leader.
    pub fn change(&mut self, change: &Change, slow: bool) {
        assert_eq!(change.expected_epoch, Some(self.epoch), "every pass sees what there is");
        self.epoch += 1;
        match &change.step {
            ChangeStep::AddLearner(store) => {
                assert!(self.members.iter().all(|member| member.store != store.store));
                self.members.push(member(self.next_replica, store, MemberRole::Learner));
                self.next_replica += 1;
            }
            ChangeStep::Promote(replica) => {
                self.is_ready(*replica, slow);
                let learner = self.members.iter_mut().find(|member| member.replica == *replica);
                learner.unwrap().role = MemberRole::Voter;
            }
            ChangeStep::Remove(replica) => {
                assert_ne!(self.leader, Some(*replica), "it hands over first");
                self.members.retain(|member| member.replica != *replica);
            }
            ChangeStep::Replace { add, remove } => {
                self.is_ready(*add, slow);
                assert_ne!(self.leader, Some(*remove), "it hands over first");
                self.members.retain(|member| member.replica != *remove);
                let learner = self.members.iter_mut().find(|member| member.replica == *add);
                learner.unwrap().role = MemberRole::Voter;
            }
        }
        let present = self
            .voters()
            .filter(|voter| self.there.contains(&voter.replica))
            .count();
        assert!(2 * present > self.voters().count(), "the quorum would be lost");
    }

    fn is_ready(&self, replica: u64, slow: bool) {
        assert!(self.there.contains(&replica), "it has no room yet");
        assert!(!slow, "it has not caught up");
    }
}
