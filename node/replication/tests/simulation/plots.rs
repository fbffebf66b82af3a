//! Plots: misfortunes at the borders of partitions that have to come one after the other, each when the one before has had its
//! effect. Drawn one by one they would hardly ever meet. There is one plot at a time; while it lasts nothing else breaks.

use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage as _;
use partita_replication::log::LogEngine as _;
use partita_replication::members::Role;
use partita_replication::time::ELECTION_NS;
use rand::Rng as _;
use uuid::Uuid;

use crate::client::KEYS;
use crate::event::Event;
use crate::table::has;
use crate::world::{MS, SECOND, World};

/// Whatever has not come about by then is given up.
const PATIENCE_NS: u64 = 5 * SECOND;
/// Between two attempts to cut a leader's log.
const CUT_EVERY_NS: u64 = 50 * MS;

/// What is meant to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A leader's state takes a cut only when the child has a leader elsewhere, whom clients have found.
    LateCut,
    /// A learner gets room once the partition is cut, and so does the child beside it; then somebody leads who has not
    /// applied the cut, and offers a snapshot of the whole.
    OldRange,
    /// Of two followers one has the cut and does not know that it is committed, and the other one was away; both are too far
    /// behind for the log.
    UnbornChild,
    /// A follower has made a cut and flushed nothing. It falls behind, gets a snapshot, and dies before that is installed.
    LostSplit,
    /// A voter has the freeze of a merge's source, and does not hear that it is committed; the merge it hears of.
    LateFreeze,
}

/// One of them, under way.
pub struct Plot {
    pub kind: Kind,
    group: GroupId,
    /// The child, or the absorber.
    other: GroupId,
    /// How the request's id stands in an entry.
    name: Vec<u8>,
    leader: usize,
    victim: usize,
    /// Who else votes.
    others: Vec<usize>,
    /// The store that has been promised a replica.
    promised: Option<usize>,
    stage: u32,
    since: u64,
    until: u64,
    acts_at: u64,
}

impl Plot {
    /// A plot around a cut that is about to be made, or around a merge's freeze; `None` where it does not fit.
    pub fn lay(world: &mut World, kind: Kind, (group, other): (GroupId, GroupId), id: Uuid) -> Option<Self> {
        let leader = world.leader(group)?;
        let members = world.machines[leader].group(group)?.members();
        let place = |store: Uuid| world.machines.iter().position(|machine| machine.uuid == store);
        let voters = members.members.iter().filter(|member| member.role == Role::Voter);
        let mut others: Vec<usize> = voters.filter_map(|member| place(member.store)).collect();
        others.retain(|voter| *voter != leader);
        let promised = members.members.iter().filter_map(|member| place(member.store));
        let promised = promised
            .into_iter()
            .find(|place| world.machines[*place].group(group).is_none());
        if kind == Kind::LateFreeze {
            let absorber = world.leader(other)?;
            others.retain(|voter| *voter != absorber);
            if absorber == leader {
                return None;
            }
        }
        let fits = match kind {
            Kind::OldRange => promised.is_some() && others.len() == 2,
            Kind::UnbornChild => others.len() == 2,
            Kind::LateCut | Kind::LostSplit | Kind::LateFreeze => !others.is_empty(),
        };
        if !fits || members.is_joint() {
            return None;
        }
        let victim = others.swap_remove(world.random.random_range(0..others.len()));
        world.network.join();
        match kind {
            // Whoever writes would give those away who lack the cut, or be told himself that the range is another one.
            Kind::OldRange | Kind::LateCut => world.quiet_until = world.now + 3 * SECOND,
            Kind::UnbornChild => world.network.separate(leader, victim),
            Kind::LostSplit | Kind::LateFreeze => {}
        }
        Some(Self {
            kind,
            group,
            other,
            name: postcard::to_stdvec(&id.as_u128()).unwrap(),
            leader,
            victim,
            others,
            promised,
            stage: 0,
            since: world.now,
            until: world.now + PATIENCE_NS,
            acts_at: 0,
        })
    }

    /// Whether a request has to wait: its group's leader does not miss somebody yet.
    pub fn delays(&self, group: GroupId) -> bool {
        self.kind == Kind::UnbornChild && self.group == group && self.stage == 0
    }

    /// Whether a promised replica gets no room yet, or gets it at once.
    pub fn admits(&self, group: GroupId) -> Option<bool> {
        let concerned = self.kind == Kind::OldRange && (group == self.group || group == self.other);
        concerned.then_some(self.stage > 0)
    }

    /// Whether a machine's state is not flushed.
    pub fn keeps_in_memory(&self, machine: usize) -> bool {
        self.kind == Kind::LostSplit && self.victim == machine
    }

    /// Whether a machine dies that has put a snapshot in its log's place.
    pub fn kills_at_install(&mut self, world: &World, machine: usize) -> bool {
        let groups = world.machines[machine].log.groups().unwrap();
        let installing = groups
            .iter()
            .any(|group| group.id == self.group && group.installing.is_some());
        let kills = self.kind == Kind::LostSplit && self.victim == machine && self.stage == 2 && installing;
        if kills {
            self.until = 0;
        }
        kills
    }

    /// A machine's log is written, and its state is next. Until when that waits.
    pub fn stalls(&mut self, world: &World, machine: usize) -> Option<u64> {
        if self.kind != Kind::LateCut || self.stage > 0 || machine != self.leader {
            return None;
        }
        let stats = world.machines[machine].group(self.group)?.stats();
        if !self.has_entry(world, machine, stats.applied.index + 1, stats.committed) {
            return None;
        }
        self.stage = 1;
        self.since = world.now;
        Some(world.now + PATIENCE_NS)
    }

    /// Something has happened. False when the plot is over.
    pub fn goes_on(&mut self, world: &mut World) -> bool {
        let going = !world.healing
            && world.now < self.until
            && match self.kind {
                Kind::LateCut => self.late_cut(world),
                Kind::OldRange => self.old_range(world),
                Kind::UnbornChild => self.unborn_child(world),
                Kind::LostSplit => self.lost_split(world),
                Kind::LateFreeze => self.late_freeze(world),
            };
        if !going {
            world.network.join();
            world.focus.clear();
            if !world.healing {
                world.quiet_until = world.quiet_until.min(world.now);
            }
            if self.kind == Kind::LateCut && self.stage == 1 {
                self.end_stall(world, MS);
            }
        }
        going
    }

    fn late_cut(&mut self, world: &mut World) -> bool {
        if self.stage != 1 {
            return self.stage == 0;
        }
        let Some(child) = world.leader(self.other) else {
            return world.now - self.since < 2 * ELECTION_NS;
        };
        let descriptor = world.machines[child].group(self.other).map(|group| group.descriptor());
        let departed = |key: &usize| descriptor.as_ref().is_some_and(|descriptor| has(descriptor, *key));
        world.focus = (0..KEYS).filter(departed).collect();
        world.disperse([(self.other, child), (self.group, self.leader)]);
        world.quiet_until = world.now;
        let rest = world.random.random_range(40 * MS..150 * MS);
        self.end_stall(world, rest);
        self.stage = 2;
        self.until = world.now + rest;
        !world.focus.is_empty()
    }

    fn end_stall(&self, world: &mut World, after: u64) {
        let machine = &mut world.machines[self.leader];
        machine.stalled_until = world.now + after;
        let (machine, incarnation) = (self.leader, machine.incarnation);
        world.at(after, Event::Disk { machine, incarnation });
    }

    fn old_range(&mut self, world: &mut World) -> bool {
        let Some(promised) = self.promised else { return false };
        let cut = world.machines[self.leader].group(self.other).is_some();
        match self.stage {
            0 if cut => false,
            0 => {
                if self.has_uncommitted(world, self.victim) {
                    world.network.separate(self.leader, self.victim);
                    world.network.sever(self.leader, promised);
                    self.stage = 1;
                }
                true
            }
            1 => {
                let there = |group| world.machines[promised].group(group).is_some();
                if cut && there(self.group) && there(self.other) {
                    world.network.join();
                    world.crash(self.leader);
                    world.at(3 * SECOND, Event::Start { machine: self.leader });
                    self.stage = 2;
                }
                true
            }
            2 => {
                let leads = world.raft_leader(self.group);
                if leads == Some(self.victim) {
                    for other in &self.others {
                        world.network.sever(*other, self.victim);
                    }
                    self.stage = 3;
                    self.until = world.now + ELECTION_NS;
                }
                leads.is_none_or(|leads| leads == self.victim || leads == self.leader)
            }
            _ => true,
        }
    }

    fn unborn_child(&mut self, world: &mut World) -> bool {
        let (leader, away, deaf) = (self.leader, self.victim, self.others[0]);
        let cut = world.machines[leader].group(self.other).is_some();
        match self.stage {
            0 if world.now - self.since > ELECTION_NS + 100 * MS => self.stage = 1,
            1 if self.has_uncommitted(world, deaf) => {
                world.network.sever(leader, deaf);
                self.stage = 2;
            }
            1 if cut => return false,
            2 if cut => {
                cut_log(world, leader);
                world.network.join();
                world.network.sever(leader, deaf);
                world.network.sever(away, deaf);
                self.stage = 3;
            }
            3 => {
                let range = |machine: usize| Some(world.machines[machine].group(self.group)?.descriptor().range_epoch);
                if range(away) == range(leader) {
                    self.until = world.now + ELECTION_NS + 300 * MS;
                    self.stage = 4;
                }
            }
            4 => self.cut_now_and_then(world),
            _ => {}
        }
        true
    }

    fn lost_split(&mut self, world: &mut World) -> bool {
        match self.stage {
            0 if world.machines[self.victim].group(self.other).is_some() => {
                let machines = world.machines.len();
                world.network.isolate(self.victim, machines, true, true);
                (self.stage, self.since) = (1, world.now);
            }
            1 if world.now - self.since > ELECTION_NS => {
                self.cut_now_and_then(world);
                let leader = world.raft_leader(self.group).unwrap_or(self.leader);
                let first = world.machines[leader].log.bounds(self.group).map(|bounds| bounds.0);
                let last = world.machines[self.victim]
                    .log
                    .bounds(self.group)
                    .map(|bounds| bounds.1);
                if first > last.map(|last| last + 1) {
                    world.network.join();
                    self.stage = 2;
                }
            }
            _ => {}
        }
        true
    }

    fn late_freeze(&mut self, world: &mut World) -> bool {
        match self.stage {
            0 if self.has_uncommitted(world, self.victim) => {
                world.network.sever(self.leader, self.victim);
                (self.stage, self.until) = (1, world.now + 2 * ELECTION_NS);
            }
            _ => {}
        }
        world.merger.request.is_some()
    }

    fn cut_now_and_then(&mut self, world: &mut World) {
        if world.now >= self.acts_at {
            self.acts_at = world.now + CUT_EVERY_NS;
            let leader = world.raft_leader(self.group).unwrap_or(self.leader);
            cut_log(world, leader);
        }
    }

    /// Whether a machine has the entry and does not know that it is committed.
    fn has_uncommitted(&self, world: &World, machine: usize) -> bool {
        let Some(group) = world.machines[machine].group(self.group) else {
            return false;
        };
        self.has_entry(world, machine, group.stats().committed + 1, u64::MAX)
    }

    fn has_entry(&self, world: &World, machine: usize, from: u64, to: u64) -> bool {
        let log = &world.machines[machine].log;
        let Some((first, last)) = log.bounds(self.group) else {
            return false;
        };
        let (from, to) = (from.max(first), to.min(last));
        let entries = (from <= to).then(|| log.entries(self.group, from, to + 1, u64::MAX).unwrap());
        let names = |data: &[u8]| data.windows(self.name.len()).any(|part| part == self.name);
        entries.into_iter().flatten().any(|entry| names(&entry.data))
    }
}

/// A machine's state is flushed, and its log is cut as far as that allows.
fn cut_log(world: &mut World, machine: usize) {
    let place = &world.machines[machine];
    let Some(store) = place.store.clone().filter(|_| place.stopped_until <= world.now) else {
        return;
    };
    // Its disk may be about to fail.
    if place.state.flush().is_ok() {
        store.cut_log();
        world.after(machine);
    }
}
