//! A partition's replicas, as the storage nodes of its StatefulSet describe them. Pure.
//!
//! What counts is what the leader says of the members: of two that claim to lead, the later term counts. Stores are known by
//! their UUIDs: a pod is only where a store is at the moment.

use partita_model::admin::{GroupState, MemberRole, MemberState, StoreState};

use super::children::Piece;
use super::observe::{Node, Observed};
use crate::nodes::NodeName;

/// A replica that lacks no more than so many of the committed entries has caught up: under load a few are always on their way.
const CAUGHT_UP_ENTRIES: u64 = 1000;

/// The storage node in one pod.
#[derive(Debug, Clone)]
pub struct Seat<'a> {
    /// Which one.
    pub name: NodeName,
    /// Its store; `None` when it does not answer.
    pub store: Option<&'a StoreState>,
    /// The partition's group in it.
    pub group: Option<&'a GroupState>,
}

/// The leader of a group.
#[derive(Debug, Clone)]
pub struct Leader<'a> {
    /// Where it is.
    pub name: &'a NodeName,
    /// What it says.
    pub group: &'a GroupState,
}

/// See the module's header.
#[derive(Debug, Clone)]
pub struct Replicas<'a> {
    /// Every pod of the StatefulSet that they are to be in, in their order; then those of another one that they move from.
    pub seats: Vec<Seat<'a>>,
    /// The StatefulSet that they are to be in.
    pub target: String,
    /// How many replicas there should be.
    pub wanted: usize,
}

impl<'a> Replicas<'a> {
    /// Of a partition; `None` when its nodes were not asked.
    pub fn of(observed: &'a Observed, piece: &Piece) -> Option<Self> {
        let group = piece.descriptor.group;
        let has_left = |name: &NodeName, node: &Node| match node {
            Node::Store(store) => store.groups.iter().any(|state| state.descriptor.group == group),
            Node::Silent => piece.is_on(&name.host),
        };
        let here = observed.nodes.iter().filter(|(name, _)| name.host == piece.target());
        let elsewhere = observed.nodes.iter().filter(|(name, _)| name.host != piece.target());
        let elsewhere = elsewhere.filter(|(name, node)| has_left(name, node));
        let seats: Vec<Seat<'a>> = here
            .chain(elsewhere)
            .map(|(name, node)| {
                let store = match node {
                    Node::Store(store) => Some(store),
                    Node::Silent => None,
                };
                let groups = store.iter().flat_map(|store| &store.groups);
                let mut ours = groups.filter(|state| state.descriptor.group == group);
                Seat {
                    name: name.clone(),
                    store,
                    group: ours.next(),
                }
            })
            .collect();
        (!seats.is_empty()).then_some(Self {
            seats,
            target: piece.target().to_owned(),
            wanted: observed.replicas(),
        })
    }

    /// The pods that its replicas should be in.
    pub fn home(&self) -> impl Iterator<Item = &Seat<'a>> {
        let here = self.seats.iter().filter(|seat| seat.name.host == self.target);
        here.take(self.wanted)
    }

    /// Whether every pod that they should be in is there, and answers.
    pub fn gathered(&self) -> bool {
        self.home().filter(|seat| seat.store.is_some()).count() == self.wanted
    }

    /// Whether a member is where it should be.
    pub fn is_in_place(&self, member: &MemberState) -> bool {
        self.home()
            .any(|seat| seat.store.is_some_and(|store| store.uuid == member.store))
    }

    /// Whether some members are in one StatefulSet and some in another.
    pub fn straddles(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let seats = leader
            .group
            .replication
            .members
            .iter()
            .map(|member| self.seat_of(&member.store));
        let mut hosts: Vec<&str> = seats.flatten().map(|seat| seat.name.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts.len() > 1
    }

    /// The pods of the voters, while not all of them are in the StatefulSet that the partition is on.
    pub fn pods(&self, piece: &Piece, leader: &Leader<'_>) -> Vec<String> {
        let voters = leader.group.replication.members.iter();
        let voters = voters.filter(|member| member.role == MemberRole::Voter);
        let seats: Vec<&Seat<'_>> = voters.filter_map(|voter| self.seat_of(&voter.store)).collect();
        match seats.iter().all(|seat| seat.name.host == piece.host) {
            true => Vec::new(),
            false => seats.iter().map(|seat| seat.name.to_string()).collect(),
        }
    }

    /// Who leads.
    pub fn leader(&self) -> Option<Leader<'_>> {
        let leading = self.seats.iter().filter_map(|seat| {
            let group = seat.group.filter(|group| group.leader)?;
            Some(Leader {
                name: &seat.name,
                group,
            })
        });
        leading.max_by_key(|leader| leader.group.term)
    }

    /// Where a store is.
    pub fn seat_of(&self, store: &str) -> Option<&Seat<'a>> {
        let holds = |seat: &&Seat<'_>| seat.store.is_some_and(|found| found.uuid == store);
        self.seats.iter().find(holds)
    }

    /// Those that do not answer.
    pub fn silent(&self) -> impl Iterator<Item = &NodeName> {
        let silent = self.seats.iter().filter(|seat| seat.store.is_none());
        silent.map(|seat| &seat.name)
    }

    /// Voters that are there, follow the leader and have caught up (the leader among them).
    pub fn caught_up(&self) -> usize {
        let Some(leader) = self.leader() else { return 0 };
        let members = leader.group.replication.members.iter();
        let voters = members.filter(|member| member.role == MemberRole::Voter);
        voters.filter(|voter| self.is_caught_up(&leader, voter)).count()
    }

    /// Whether a member is there, follows the leader and has caught up.
    pub fn is_caught_up(&self, leader: &Leader<'_>, member: &MemberState) -> bool {
        let group = self.seat_of(&member.store).and_then(|seat| seat.group);
        let follows = group.is_some_and(|group| {
            let own = &group.replication;
            own.replica == member.replica && own.leader == Some(leader.group.replication.replica)
        });
        let has = member.matched.unwrap_or(0).saturating_add(CAUGHT_UP_ENTRIES);
        follows && has >= leader.group.replication.committed
    }

    /// Whether all voters but the one of this node (if it has one) have caught up, and are a quorum.
    pub fn can_do_without(&self, leader: &Leader<'_>, node: &NodeName) -> bool {
        let members = leader.group.replication.members.iter();
        let voters: Vec<&MemberState> = members.filter(|member| member.role == MemberRole::Voter).collect();
        let is_here = |voter: &&&MemberState| self.seat_of(&voter.store).is_some_and(|seat| seat.name == *node);
        let here = voters.iter().filter(is_here).count();
        let others = voters.iter().filter(|voter| !is_here(voter));
        let alone = voters.len() == 1;
        let others_lead = alone || 2 * (voters.len() - here) > voters.len();
        others_lead && others.into_iter().all(|voter| self.is_caught_up(leader, voter))
    }

    /// Whether there are exactly the replicas that there should be, in the first pods, and all of them have caught up.
    pub fn is_whole(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let replication = &leader.group.replication;
        !replication.joint
            && replication.members.len() == self.wanted
            && replication.members.iter().all(|member| self.is_in_place(member))
            && self.caught_up() == self.wanted
    }

    /// Which of a StatefulSet's pods the members need, as a number of pods; `None` when nobody says who the members are.
    fn needed(&self, host: &str) -> Option<usize> {
        let leader = self.leader()?;
        let here = || self.seats.iter().filter(|seat| seat.name.host == host);
        let ordinals = leader.group.replication.members.iter().map(|member| {
            match self.seat_of(&member.store) {
                Some(seat) if seat.name.host == host => seat.name.ordinal + 1,
                Some(_) => 0,
                // One that is nowhere to be seen may be in any of them.
                None => here().count(),
            }
        });
        // What was removed is destroyed before its pod goes.
        let left = here().filter(|seat| seat.group.is_some());
        ordinals.chain(left.map(|seat| seat.name.ordinal + 1)).max()
    }
}

/// How many pods a StatefulSet with these partitions is to have: as many as there should be replicas, or as many as still hold some.
pub fn pods(observed: &Observed, here: &[&Piece], host: &str) -> usize {
    let wanted = observed.replicas();
    if !observed.stateful_sets.contains_key(host) {
        let voters = here.iter().filter(|piece| piece.host == host).map(|piece| {
            let status = observed
                .partitions
                .get(&piece.name)
                .and_then(|known| known.status.as_ref());
            status.map_or(0, |status| status.stores.len())
        });
        return voters.fold(wanted, usize::max);
    }
    let there = observed.pods_of(host);
    if there <= wanted {
        return wanted;
    }
    if here.is_empty() {
        // While Partitions are missing nobody knows whose voters are in these pods.
        return there;
    }
    let needed = here
        .iter()
        .map(|piece| Replicas::of(observed, piece).and_then(|replicas| replicas.needed(host)));
    needed.fold(wanted, |most, needed| most.max(needed.unwrap_or(there)))
}
