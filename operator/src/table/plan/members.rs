//! The members of each partition's group: one in each of its StatefulSet's pods. A store that is lost is replaced, and `replicas`
//! may become more or less. One change of a group at a time, each decided anew from what its leader says:
//!
//! 1. what is left of a replica that is no member any more is destroyed, unless the group went on without it when it was taken for
//!    lost: that is for a person to decide;
//! 2. a store without a replica gets one that learns, and room for it;
//! 3. once it has caught up it takes the place of a voter whose store is nowhere any more, or becomes a further one;
//! 4. a voter in a pod that is to go hands over if it leads, and is removed; its pod goes afterwards (see `replicas::pods`);
//! 5. a partition that moves gets replicas in the other StatefulSet in the same way, once all pods of it are there: each takes the
//!    place of one that is to leave, the leader's last, once it has handed over to one of them.
//!
//! Without a leader nothing is done: whoever leads has a quorum, and refuses what would lose it. A new replica never counts
//! before it has caught up.

use std::collections::BTreeSet;

use partita_model::admin::{Change, ChangeStep, GroupState, MemberRole, MemberState, Room, StoreAddress, UNSEEN};
use partita_model::partition::GroupId;
use partita_model::table::record::Record;

use super::Action;
use crate::nodes::{Call, NodeName};
use crate::table::children::Piece;
use crate::table::observe::Observed;
use crate::table::replicas::{Leader, Replicas, Seat};

/// What is to be done about members.
#[derive(Debug, Default)]
pub struct Members {
    /// In this order.
    pub actions: Vec<Action>,
    /// What is under way.
    pub waiting: Option<String>,
    /// All of it is about partitions that move.
    pub moves: bool,
}

/// Plans the changes of a table's groups. `missing`: partitions whose groups are still to be made.
pub fn plan(observed: &Observed, record: &Record, missing: &BTreeSet<String>) -> Members {
    let mut members = Members {
        moves: true,
        ..Members::default()
    };
    for piece in observed.pieces(record) {
        if missing.contains(&piece.name) {
            continue;
        }
        let Some(replicas) = Replicas::of(observed, &piece) else {
            continue;
        };
        let Some(leader) = replicas.leader() else { continue };
        let group = Group {
            observed,
            piece: &piece,
            replicas: &replicas,
            leader: &leader,
        };
        members.actions.extend(group.leftovers());
        if let Some(Next { actions, words }) = group.next() {
            members.moves &= piece.moving_to.is_some();
            members.actions.extend(actions);
            members
                .waiting
                .get_or_insert_with(|| format!("{}: {words}", piece.name));
        }
    }
    members
}

/// The next step of a group.
struct Next {
    actions: Vec<Action>,
    words: String,
}

/// A group as its leader sees it.
struct Group<'a> {
    observed: &'a Observed,
    piece: &'a Piece,
    replicas: &'a Replicas<'a>,
    leader: &'a Leader<'a>,
}

impl Group<'_> {
    fn id(&self) -> GroupId {
        self.piece.descriptor.group
    }

    fn members(&self) -> &[MemberState] {
        &self.leader.group.replication.members
    }

    fn voters(&self) -> impl Iterator<Item = &MemberState> {
        self.members().iter().filter(|member| member.role == MemberRole::Voter)
    }

    fn member_on(&self, store: &str) -> Option<&MemberState> {
        self.members().iter().find(|member| member.store == store)
    }

    /// The pods that replicas should be in.
    fn seats(&self) -> impl Iterator<Item = &Seat<'_>> {
        self.replicas.home()
    }

    fn is_in_place(&self, member: &MemberState) -> bool {
        self.replicas.is_in_place(member)
    }

    /// Replicas that are no members (any more).
    fn leftovers(&self) -> Vec<Action> {
        let left = self.strangers().filter(|(_, group)| !self.is_superseded(group));
        left.map(|(name, group)| Action::Tell(name.clone(), Call::Remove(self.id(), group.replication.replica)))
            .collect()
    }

    /// Replicas that are no members (any more), and in which pods they are.
    fn strangers(&self) -> impl Iterator<Item = (&NodeName, &GroupState)> {
        let here = self.replicas.seats.iter();
        let here = here.filter_map(|seat| seat.group.map(|group| (&seat.name, group)));
        here.filter(|(_, group)| self.is_left_over(group))
    }

    /// Whether a replica was taken for lost when the group went on without most of its voters: it may have what nobody else has.
    fn is_superseded(&self, group: &GroupState) -> bool {
        let (own, leader) = (&group.replication, &self.leader.group.replication);
        !own.members.is_empty() && leader.membership_epoch >= own.membership_epoch.saturating_add(UNSEEN / 2)
    }

    /// Nothing comes in the place of such a replica before a person has decided what becomes of it.
    fn await_decision(&self) -> Option<Next> {
        let (pod, group) = self.strangers().find(|(_, group)| self.is_superseded(group))?;
        waits(format!(
            "{pod} is back with what replica {} had when the group was recovered without it, which may be more than the group has. \
             When nobody needs that any more, let the replica go: DELETE /groups/{:016x}?replica={} at the pod's admin port",
            group.replication.replica,
            self.id().0,
            group.replication.replica
        ))
    }

    /// The leader must know at least what the replica knows. What a replica without any knowledge belongs to is said by a leader
    /// that is surely not a former one.
    fn is_left_over(&self, group: &GroupState) -> bool {
        let (own, leader) = (&group.replication, &self.leader.group.replication);
        if self.members().iter().any(|member| member.replica == own.replica) {
            return false;
        }
        match own.members.is_empty() {
            true => 2 * self.voters().filter(|voter| voter.alive == Some(true)).count() > self.voters().count(),
            false => own.membership_epoch <= leader.membership_epoch,
        }
    }

    /// The next step, if the group is not as it should be.
    fn next(&self) -> Option<Next> {
        if self.leader.group.replication.joint {
            return waits("its replicas are changing places");
        }
        self.await_decision()
            .or_else(|| self.gather())
            .or_else(|| self.add())
            .or_else(|| self.seat_a_learner())
            .or_else(|| self.remove())
    }

    /// A move begins once every pod that it goes to is there. While members are in both StatefulSets no pod of either may be drained
    /// (see [`super::nodes`]), and a pod that the drain itself keeps away would make that last.
    fn gather(&self) -> Option<Next> {
        let begun = self.members().iter().any(|member| self.is_in_place(member));
        if self.piece.moving_to.is_none() || begun || self.replicas.gathered() {
            return None;
        }
        waits(format!("waiting for the storage nodes of {}", self.replicas.target))
    }

    /// A store without a replica gets one.
    fn add(&self) -> Option<Next> {
        for seat in self.seats() {
            let Some(store) = seat.store else { continue };
            match (self.member_on(&store.uuid), seat.group) {
                // What is left there goes first.
                (None, Some(_)) => return waits(format!("removing what is left of a former replica in {}", seat.name)),
                (None, None) => {
                    let learner = StoreAddress {
                        store: store.uuid.clone(),
                        address: seat.name.address(&self.observed.namespace),
                    };
                    return self.change(
                        ChangeStep::AddLearner(learner),
                        format!("adding a replica in {}", seat.name),
                    );
                }
                (Some(member), None) if member.role == MemberRole::Learner => {
                    let words = format!("making room for a replica in {}", seat.name);
                    let call = Call::MakeRoom(Box::new(self.room(member.replica)));
                    return next(Action::Tell(seat.name.clone(), call), words);
                }
                _ => {}
            }
        }
        None
    }

    /// Room for a replica with this number, with the other members' addresses.
    fn room(&self, replica: u64) -> Room {
        let members = self.members().iter().filter_map(|member| {
            let seat = self.replicas.seat_of(&member.store);
            Some(StoreAddress {
                store: member.store.clone(),
                address: match seat {
                    Some(seat) => seat.name.address(&self.observed.namespace),
                    None => member.address.clone()?,
                },
            })
        });
        Room {
            descriptor: self.leader.group.descriptor.clone(),
            replica,
            members: members.collect(),
        }
    }

    /// A learner that has caught up becomes a voter.
    fn seat_a_learner(&self) -> Option<Next> {
        let learners = self
            .members()
            .iter()
            .filter(|member| member.role == MemberRole::Learner);
        let learners: Vec<&MemberState> = learners.filter(|learner| self.is_in_place(learner)).collect();
        let learner = learners.first()?;
        let ready: Vec<&&MemberState> = learners
            .iter()
            .filter(|learner| self.replicas.is_caught_up(self.leader, learner))
            .collect();
        let voters = self.voters().count();
        let to_come = self.replicas.wanted.saturating_sub(voters);
        match (self.lost(), ready.first()) {
            (Some(lost), Some(ready)) if voters >= self.replicas.wanted => self.change(
                ChangeStep::Replace {
                    add: ready.replica,
                    remove: lost.replica,
                },
                format!("replacing the replica in store {}, which is lost", lost.store),
            ),
            (None, Some(ready)) if voters >= self.replicas.wanted => self.take_a_place(ready),
            // An even number of voters bears no more losses than one less: the others follow at once.
            (_, Some(next)) if to_come > 0 && (ready.len() >= to_come || voters.is_multiple_of(2)) => self.change(
                ChangeStep::Promote(next.replica),
                "letting a new replica vote".to_owned(),
            ),
            (None, None) if to_come == 0 && !self.voters().any(|voter| self.is_to_leave(voter)) => {
                waits("waiting for the storage node of one of its replicas")
            }
            _ => {
                let seat = self.replicas.seat_of(&learner.store);
                let place = seat.map(|seat| format!(" in {}", seat.name)).unwrap_or_default();
                waits(format!("a new replica{place} receives the data"))
            }
        }
    }

    /// A learner that has caught up takes the place of a voter that is to leave. The one that leads hands over first, to one
    /// that is in place; where there is none, because there is but one replica, the learner votes beside it.
    fn take_a_place(&self, ready: &MemberState) -> Option<Next> {
        let leader = self.leader.group.replication.replica;
        let mut leaving = self.voters().filter(|voter| self.is_to_leave(voter));
        let Some(first) = leaving.next() else {
            return waits("waiting for the storage node of one of its replicas");
        };
        let follower = [first].into_iter().chain(leaving).find(|voter| voter.replica != leader);
        if let Some(follower) = follower {
            let seat = self.replicas.seat_of(&follower.store);
            let place = seat.map_or_else(|| format!("store {}", follower.store), |seat| seat.name.to_string());
            let step = ChangeStep::Replace {
                add: ready.replica,
                remove: follower.replica,
            };
            return self.change(
                step,
                format!("moving the replica in {place} to {}", self.replicas.target),
            );
        }
        let in_place: Vec<&MemberState> = self.voters().filter(|voter| self.is_in_place(voter)).collect();
        if in_place.is_empty() {
            return self.change(
                ChangeStep::Promote(ready.replica),
                "letting a new replica vote".to_owned(),
            );
        }
        match in_place
            .iter()
            .find(|voter| self.replicas.is_caught_up(self.leader, voter))
        {
            Some(heir) => {
                let call = Call::HandOver(self.id(), heir.replica);
                next(self.tell(call), format!("handing over from {}", self.leader.name))
            }
            None => waits("waiting for another replica to catch up"),
        }
    }

    /// Whether a voter is where it should not be. One that is nowhere to be seen may be in a pod that does not answer: that
    /// matters where it should be, not where it moves away from.
    fn is_to_leave(&self, voter: &MemberState) -> bool {
        let here = format!("{}-", self.replicas.target);
        let elsewhere = || {
            voter
                .address
                .as_ref()
                .is_some_and(|address| !address.starts_with(&here))
        };
        let seen = self.replicas.seat_of(&voter.store).is_some();
        !self.is_in_place(voter) && (seen || self.piece.moving_to.is_some() && elsewhere())
    }

    /// A voter whose store is in none of the pods, the one that was in the pod of a learner first. A store that may be in a pod
    /// that does not answer is not lost, unless there is one such pod less than such stores.
    fn lost(&self) -> Option<&MemberState> {
        let nowhere: Vec<&MemberState> = self
            .voters()
            .filter(|voter| self.replicas.seat_of(&voter.store).is_none())
            .collect();
        if nowhere.len() <= self.replicas.silent().count() {
            return None;
        }
        let silent: Vec<String> = self
            .replicas
            .silent()
            .map(|node| node.address(&self.observed.namespace))
            .collect();
        let elsewhere = nowhere.iter().find(|voter| {
            let address = voter.address.as_ref();
            address.is_none_or(|address| !silent.contains(address))
        });
        elsewhere.or(nowhere.first()).copied()
    }

    /// A member that is one too many goes: learners first, then voters whose pods are to go, once all others are in place.
    fn remove(&self) -> Option<Next> {
        let out_of_place: Vec<&MemberState> = self
            .members()
            .iter()
            .filter(|member| !self.is_in_place(member))
            .collect();
        if let Some(learner) = out_of_place.iter().find(|member| member.role == MemberRole::Learner) {
            // Its store may be in a pod that does not answer.
            let silent = self.replicas.silent().next().is_some();
            return match silent && self.replicas.seat_of(&learner.store).is_none() {
                true => waits("waiting for the storage node of a new replica"),
                false => self.remove_one(learner),
            };
        }
        if self.voters().count() <= self.replicas.wanted {
            return None;
        }
        let staying: Vec<&MemberState> = self.voters().filter(|voter| self.is_in_place(voter)).collect();
        if staying.len() < self.replicas.wanted {
            return waits("waiting for the storage nodes that stay, before replicas are removed");
        }
        let leader = self.leader.group.replication.replica;
        // Those that are away go first: the quorum is of those that are there.
        let is_there = |member: &&&MemberState| self.replicas.seat_of(&member.store).is_some();
        let followers = out_of_place.iter().filter(|member| member.replica != leader);
        match followers.min_by_key(is_there) {
            Some(follower) => self.remove_one(follower),
            None => {
                let heir = staying
                    .iter()
                    .find(|voter| self.replicas.is_caught_up(self.leader, voter));
                let Some(heir) = heir else {
                    return waits("waiting for another replica to catch up");
                };
                let call = Call::HandOver(self.id(), heir.replica);
                next(self.tell(call), format!("handing over from {}", self.leader.name))
            }
        }
    }

    fn remove_one(&self, member: &MemberState) -> Option<Next> {
        let seat = self.replicas.seat_of(&member.store);
        let place = seat.map_or_else(|| format!("store {}", member.store), |seat| seat.name.to_string());
        self.change(
            ChangeStep::Remove(member.replica),
            format!("removing the replica in {place}"),
        )
    }

    fn change(&self, step: ChangeStep, words: String) -> Option<Next> {
        let change = Change {
            expected_epoch: Some(self.leader.group.replication.membership_epoch),
            step,
        };
        next(self.tell(Call::Change(self.id(), Box::new(change))), words)
    }

    fn tell(&self, call: Call) -> Action {
        let leader: &NodeName = self.leader.name;
        Action::Tell(leader.clone(), call)
    }
}

fn next(action: Action, words: String) -> Option<Next> {
    Some(Next {
        actions: vec![action],
        words,
    })
}

fn waits(words: impl Into<String>) -> Option<Next> {
    Some(Next {
        actions: Vec::new(),
        words: words.into(),
    })
}
