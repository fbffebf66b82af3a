//! Who is in a group: its members by replica id, as the last applied change of membership left them.
//!
//! 1. A group is born with [`Members::voters`] (or with its sole voter).
//! 2. The leader turns a [`MemberChange`] into a log entry ([`ChangeEntry`]), which names the epoch it was made for.
//! 3. Apply calls [`Members::apply`] on every replica: the new members are stored with the state, in the same batch,
//!    and raft-rs is told.
//!
//! A replica id comes from the group's counter and is never used again: what was removed can only come back as
//! somebody new.

use std::collections::VecDeque;

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A replica's number in its group: from the group's counter, never used again.
pub type ReplicaId = u64;

/// The stored form's version: its first byte. Postcard follows.
const VERSION: u8 = 1;
/// So many changes are remembered for callers who ask again.
const CHANGES_REMEMBERED: usize = 32;
/// The first replica of a group.
pub(crate) const FIRST_REPLICA: ReplicaId = 1;

/// What a member counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It votes, and its log counts for commitment.
    Voter,
    /// It receives the log and does not count.
    Learner,
    /// It still counts in the configuration that is being left, and is gone after that.
    Leaving,
}

/// One replica of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The store it is on.
    pub store: Uuid,
    /// Its number.
    pub replica: ReplicaId,
    /// What it counts for.
    pub role: Role,
}

/// A change of membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A new replica on a store, which receives the log and does not vote.
    AddLearner {
        /// The store.
        store: Uuid,
    },
    /// A learner that has caught up becomes a voter.
    Promote {
        /// The learner.
        replica: ReplicaId,
    },
    /// A replica goes.
    Remove {
        /// Which one. Not the leader: it hands over first.
        replica: ReplicaId,
    },
    /// A learner takes a voter's place: by joint consensus, so that no moment has one voter fewer or more.
    Replace {
        /// The learner.
        add: ReplicaId,
        /// The voter.
        remove: ReplicaId,
    },
    /// The end of a joint configuration: the leader proposes it by itself.
    Leave,
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The replica that was added, promoted or removed.
    pub replica: ReplicaId,
    /// The membership epoch since the change.
    pub epoch: u64,
}

/// Why a change of membership was not made. Nothing has changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MembershipError {
    /// Not the leader, or not for long enough.
    #[error(transparent)]
    Refused(#[from] partita_model::request::Refusal),
    /// The members have changed since the caller looked.
    #[error("the group's membership epoch is {epoch}, and the change is for {expected}")]
    StaleEpoch {
        /// What the caller expected.
        expected: u64,
        /// What it is.
        epoch: u64,
    },
    /// Another change is on its way.
    #[error("another change of the group's members is on its way")]
    Busy,
    /// The partition stands still, to be absorbed by its neighbour.
    #[error("the partition is being merged into its neighbour: until that is decided its members stay")]
    Frozen,
    /// No such replica, or not in the role that the change is about.
    #[error("replica {0} is not a member in the role that this change is about")]
    NoSuchMember(ReplicaId),
    /// The store has a replica already.
    #[error("the store has a replica of the group already")]
    StoreTaken,
    /// The leader cannot go: it hands over first.
    #[error("the replica leads the group: transfer the leadership first")]
    Leads,
    /// The learner has not caught up.
    #[error("the learner has not caught up: it has entry {matched} of {last}")]
    Behind {
        /// What it has.
        matched: u64,
        /// What there is.
        last: u64,
    },
    /// Too few voters that are alive would be left.
    #[error("of the voters after the change only {alive} are alive, and {quorum} are needed")]
    QuorumLost {
        /// Voters that the leader has heard of lately.
        alive: usize,
        /// What commitment takes.
        quorum: usize,
    },
}

/// A change that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    id: Uuid,
    changed: Changed,
}

/// See the module's header.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Members {
    /// Counts the changes.
    pub epoch: u64,
    /// The number that the next new replica gets.
    pub next_replica: ReplicaId,
    /// The members, by replica id. Empty at a replica that was added and has not received its first snapshot.
    pub members: Vec<Member>,
    /// Who votes in the configuration that is being left; empty but for a joint configuration.
    pub outgoing: Vec<ReplicaId>,
    done: VecDeque<Done>,
}

/// A change as a log entry holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeEntry {
    /// The caller's.
    pub(crate) id: Uuid,
    /// Made for this epoch; at any other it does not count.
    pub(crate) epoch: u64,
    pub(crate) change: MemberChange,
}

/// Bytes that are no members or change of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format of members: {0}")]
pub(crate) struct UnknownMembers(String);

impl Members {
    /// The members of a group that is born on these stores, all of them voters.
    pub fn voters(stores: &[Uuid]) -> Self {
        let numbered = stores.iter().zip(FIRST_REPLICA..);
        Self {
            epoch: 1,
            next_replica: FIRST_REPLICA + stores.len() as u64,
            members: numbered
                .map(|(&store, replica)| Member {
                    store,
                    replica,
                    role: Role::Voter,
                })
                .collect(),
            ..Self::default()
        }
    }

    /// The members of a split's child: the same, who have changed nothing yet.
    pub(crate) fn of_child(&self) -> Self {
        Self {
            done: VecDeque::new(),
            ..self.clone()
        }
    }

    /// A store that was the only one wrote no name for itself.
    pub(crate) fn at_home(mut self, store: Uuid) -> Self {
        for member in self.members.iter_mut().filter(|member| member.store.is_nil()) {
            member.store = store;
        }
        self
    }

    /// The member with this number.
    pub fn member(&self, replica: ReplicaId) -> Option<&Member> {
        self.members.iter().find(|member| member.replica == replica)
    }

    /// The member on this store.
    pub fn on_store(&self, store: Uuid) -> Option<&Member> {
        self.members.iter().find(|member| member.store == store)
    }

    /// Who votes: in the current configuration, and in the one that is being left.
    pub fn voting(&self) -> [Vec<ReplicaId>; 2] {
        let voters = self.members.iter().filter(|member| member.role == Role::Voter);
        [voters.map(|member| member.replica).collect(), self.outgoing.clone()]
    }

    /// Whether only this replica votes.
    pub fn is_sole_voter(&self, replica: ReplicaId) -> bool {
        self.outgoing.is_empty()
            && self
                .members
                .iter()
                .all(|member| (member.role == Role::Voter) == (member.replica == replica))
            && self.member(replica).is_some()
    }

    /// Only a replica on this store, which votes, and comes so far behind all numbers and changes that are known.
    pub(crate) fn reduced_to(&self, store: Uuid, id: Uuid, behind: u64) -> Self {
        let (replica, epoch) = (self.next_replica + behind, self.epoch + behind);
        let mut done = self.done.clone();
        done.push_back(Done {
            id,
            changed: Changed { replica, epoch },
        });
        Self {
            epoch,
            next_replica: replica + 1,
            members: vec![Member {
                store,
                replica,
                role: Role::Voter,
            }],
            outgoing: Vec::new(),
            done,
        }
    }

    /// Whether two configurations are in force.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// What became of a caller's change, if it is one of the last few.
    pub fn changed(&self, id: Uuid) -> Option<Changed> {
        self.done.iter().find(|done| done.id == id).map(|done| done.changed)
    }

    /// The members after a change; `None` when the change does not fit them.
    pub(crate) fn apply(&self, entry: &ChangeEntry) -> Option<Self> {
        if entry.epoch != self.epoch {
            return None;
        }
        let mut next = self.clone();
        next.epoch += 1;
        let replica = next.change(entry.change)?;
        next.done.push_back(Done {
            id: entry.id,
            changed: Changed {
                replica,
                epoch: next.epoch,
            },
        });
        if next.done.len() > CHANGES_REMEMBERED {
            next.done.pop_front();
        }
        Some(next)
    }

    fn change(&mut self, change: MemberChange) -> Option<ReplicaId> {
        let voters = self.voting()[0].clone();
        if self.is_joint() != matches!(change, MemberChange::Leave) {
            return None;
        }
        match change {
            MemberChange::AddLearner { store } => {
                let replica = self.next_replica;
                self.next_replica += 1;
                self.members.push(Member {
                    store,
                    replica,
                    role: Role::Learner,
                });
                Some(replica)
            }
            MemberChange::Promote { replica } => {
                self.with_role(replica, Role::Learner)?.role = Role::Voter;
                Some(replica)
            }
            MemberChange::Remove { replica } => {
                let member = self.member(replica)?;
                if member.role == Role::Voter && voters.len() == 1 {
                    return None;
                }
                self.members.retain(|member| member.replica != replica);
                Some(replica)
            }
            MemberChange::Replace { add, remove } => {
                self.with_role(add, Role::Learner)?.role = Role::Voter;
                self.with_role(remove, Role::Voter)?.role = Role::Leaving;
                self.outgoing = voters;
                Some(add)
            }
            MemberChange::Leave => {
                self.outgoing.clear();
                self.members.retain(|member| member.role != Role::Leaving);
                Some(0)
            }
        }
    }

    fn with_role(&mut self, replica: ReplicaId, role: Role) -> Option<&mut Member> {
        self.members
            .iter_mut()
            .find(|member| member.replica == replica && member.role == role)
    }

    /// As raft-rs has them.
    pub(crate) fn conf_state(&self) -> ConfState {
        let [voters, outgoing] = self.voting();
        let learners = self.members.iter().filter(|member| member.role == Role::Learner);
        ConfState {
            voters,
            learners: learners.map(|member| member.replica).collect(),
            voters_outgoing: outgoing,
            ..ConfState::default()
        }
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, UnknownMembers> {
        encode(self)
    }

    /// From the stored form.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, UnknownMembers> {
        decode(bytes)
    }
}

impl ChangeEntry {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, UnknownMembers> {
        encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, UnknownMembers> {
        decode(bytes)
    }

    /// What raft-rs has to know of it. `members` are those before the change.
    pub(crate) fn conf_change(&self, members: &Members) -> ConfChangeV2 {
        let single = |change_type, node_id| ConfChangeSingle {
            change_type,
            node_id,
            ..ConfChangeSingle::default()
        };
        let (transition, changes) = match self.change {
            MemberChange::AddLearner { .. } => {
                let added = single(ConfChangeType::AddLearnerNode, members.next_replica);
                (ConfChangeTransition::Auto, vec![added])
            }
            MemberChange::Promote { replica } => (
                ConfChangeTransition::Auto,
                vec![single(ConfChangeType::AddNode, replica)],
            ),
            MemberChange::Remove { replica } => (
                ConfChangeTransition::Auto,
                vec![single(ConfChangeType::RemoveNode, replica)],
            ),
            // Left explicitly: raft-rs forgets to leave by itself when the leader changes in between.
            MemberChange::Replace { add, remove } => (
                ConfChangeTransition::Explicit,
                vec![
                    single(ConfChangeType::AddNode, add),
                    single(ConfChangeType::RemoveNode, remove),
                ],
            ),
            MemberChange::Leave => (ConfChangeTransition::Auto, Vec::new()),
        };
        ConfChangeV2 {
            transition,
            changes: changes.into(),
            ..ConfChangeV2::default()
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, UnknownMembers> {
    postcard::to_extend(value, vec![VERSION]).map_err(|error| UnknownMembers(error.to_string()))
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, UnknownMembers> {
    match bytes.split_first() {
        Some((&VERSION, content)) => postcard::from_bytes(content).map_err(|error| UnknownMembers(error.to_string())),
        Some((version, _)) => Err(UnknownMembers(format!("version {version}"))),
        None => Err(UnknownMembers("no version".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(members: &Members, change: MemberChange) -> ChangeEntry {
        let (id, epoch) = (Uuid::from_u128(u128::from(members.epoch)), members.epoch);
        ChangeEntry { id, epoch, change }
    }

    fn changed(members: &Members, change: MemberChange) -> Option<Members> {
        members.apply(&entry(members, change))
    }

    #[test]
    fn a_move_replaces_a_voter_by_a_learner_through_a_joint_configuration() {
        let stores: Vec<_> = (1..=4).map(Uuid::from_u128).collect();
        let born = Members::voters(&stores[..3]);
        let added = changed(&born, MemberChange::AddLearner { store: stores[3] }).unwrap();
        assert_eq!(added.on_store(stores[3]).unwrap().replica, 4);
        let joint = changed(&added, MemberChange::Replace { add: 4, remove: 2 }).unwrap();
        assert_eq!(joint.voting(), [vec![1, 3, 4], vec![1, 2, 3]]);
        assert!(changed(&joint, MemberChange::Remove { replica: 1 }).is_none());
        let left = changed(&joint, MemberChange::Leave).unwrap();
        assert_eq!(left.voting(), [vec![1, 3, 4], vec![]]);
        assert!(left.member(2).is_none());
        assert_eq!((left.epoch, left.next_replica), (4, 5));
        let first = Uuid::from_u128(1);
        assert_eq!(left.changed(first), Some(Changed { replica: 4, epoch: 2 }));
        assert_eq!(Members::decode(&left.encode().unwrap()).unwrap(), left);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let one = Members::voters(&[Uuid::from_u128(1)]);
        assert!(one.is_sole_voter(1));
        assert!(changed(&one, MemberChange::Remove { replica: 1 }).is_none());
        assert!(changed(&one, MemberChange::Promote { replica: 1 }).is_none());
        assert!(changed(&one, MemberChange::Leave).is_none());
        let old = ChangeEntry {
            epoch: 0,
            ..entry(&one, MemberChange::AddLearner { store: Uuid::nil() })
        };
        assert!(one.apply(&old).is_none());
        assert!(Members::decode(&[9, 9]).is_err());
    }
}
