//! Plots: misfortunes at the borders of partitions that have to come one after the other, each when the one before has had its
//! effect. Drawn one by one they would hardly ever meet. There is one plot at a time; while it lasts nothing else breaks.

//!
//! Each kind is told in its own file: [`cuts`], [`freeze`], [`change`].

mod change;
mod cuts;
mod freeze;

use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage as _;
use partita_replication::log::LogEngine as _;
use partita_replication::members::Role;
use raft::eraftpb::Entry;
use rand::Rng as _;
use uuid::Uuid;

use crate::client::KEYS;
use crate::event::Event;
use crate::machine::Machine;
use crate::table::has;
use crate::world::{MS, SECOND, World};

/// Whatever has not come about by then is given up.
const PATIENCE_NS: u64 = 5 * SECOND;
/// Between two attempts to cut a leader's log, or to hand over.
const ACT_EVERY_NS: u64 = 50 * MS;
/// How long a disk hangs: its leader goes on sending when it is back, before it applies what it had made known before.
const HANG_NS: u64 = 350 * MS;

/// What is meant to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A leader makes known that a cut is committed, then its disk hangs, and then its state. It has its lease when the child
    /// has a leader elsewhere, whom clients have found.
    LateCut,
    /// A learner gets room once the partition is cut, and so does the child beside it; then somebody leads who has not
    /// applied the cut, and offers a snapshot of the whole.
    OldRange,
    /// Of two followers one has the cut and does not know that it is committed, and the other one was away; both are too far
    /// behind for the log.
    UnbornChild,
    /// A follower has made a cut and flushed nothing. It falls behind, gets a snapshot, and dies before that is installed.
    LostSplit,
    /// A voter has the freeze of a merge's source, and writes right before it, and does not hear that they are committed; the
    /// merge it hears of.
    LateFreeze,
    /// A voter has a change of members, and does not hear that it is committed before it is too far behind for the log: a
    /// snapshot overtakes the change on its way to the state.
    OvertakenChange,
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
    /// The change that is to be overtaken.
    index: u64,
    /// Whose state takes nothing because of this.
    stalled: Option<usize>,
    stage: u32,
    since: u64,
    until: u64,
    acts_at: u64,
}

impl Plot {
    /// A plot around a cut that is about to be made, around a merge's freeze, or around a change of members, by which this
    /// machine may go; `None` where it does not fit.
    pub fn lay(
        world: &mut World,
        kind: Kind,
        (group, other): (GroupId, GroupId),
        id: Uuid,
        goes: Option<usize>,
    ) -> Option<Self> {
        let leader = world.leader(group)?;
        let members = world.machines[leader].group(group)?.members();
        let voters = members.members.iter().filter(|member| member.role == Role::Voter);
        let mut others: Vec<usize> = voters.filter_map(|member| world.place(member.store)).collect();
        others.retain(|voter| *voter != leader && Some(*voter) != goes);
        let fits = match kind {
            Kind::OldRange | Kind::UnbornChild => others.len() == 2,
            Kind::LateCut | Kind::LostSplit | Kind::LateFreeze => !others.is_empty(),
            Kind::OvertakenChange => !others.is_empty() && !keys_of(world, group, leader).is_empty(),
        };
        if !fits || members.is_joint() {
            return None;
        }
        let victim = others.swap_remove(world.random.random_range(0..others.len()));
        world.network.join();
        world.network.calm = true;
        match kind {
            // Whoever writes would give those away who lack the cut, or be told himself that the range is another one.
            Kind::OldRange => world.quiet_until = world.now + PATIENCE_NS,
            Kind::LateCut => world.quiet_until = world.now + 3 * SECOND,
            Kind::UnbornChild => world.network.separate(leader, victim),
            Kind::LostSplit | Kind::LateFreeze | Kind::OvertakenChange => {}
        }
        let mut plot = Self {
            kind,
            group,
            other,
            name: postcard::to_stdvec(&id.as_u128()).unwrap(),
            leader,
            victim,
            others,
            promised: None,
            index: 0,
            stalled: None,
            stage: 0,
            since: world.now,
            until: world.now + PATIENCE_NS,
            acts_at: 0,
        };
        if kind == Kind::OldRange {
            plot.find_promised(world);
        }
        Some(plot)
    }

    /// Whether a request has to wait: its group's leader does not miss somebody yet, or has promised nobody a replica, or the
    /// two to be merged are not beside each other.
    pub fn delays(&self, group: GroupId) -> bool {
        self.group == group
            && match self.kind {
                Kind::UnbornChild | Kind::LateFreeze => self.stage == 0,
                Kind::OldRange => self.promised.is_none(),
                Kind::LateCut | Kind::LostSplit | Kind::OvertakenChange => false,
            }
    }

    /// Whether a group needs a learner.
    pub fn wants_learner(&self, group: GroupId) -> bool {
        self.kind == Kind::OldRange && self.group == group && self.promised.is_none()
    }

    /// Whether nobody changes a group's members, or hands it over.
    pub fn keeps_still(&self, group: GroupId) -> bool {
        self.kind == Kind::OldRange && self.group == group && self.promised.is_some()
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

    /// A merge's source is about to be frozen: everybody writes there right before.
    pub fn crowds(&self, group: GroupId) -> bool {
        self.kind == Kind::LateFreeze && self.group == group && self.stage == 1
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

    /// A machine has sent what need not wait for its disk. How long that hangs.
    pub fn hangs(&mut self, machine: &Machine) -> u64 {
        let concerned = self.kind == Kind::LateCut && self.stage == 0 && machine.number == self.leader;
        match concerned && self.has_committed(machine) {
            true => HANG_NS,
            false => 0,
        }
    }

    /// A machine's log is written, and its state is next. Until when that waits.
    pub fn stalls(&mut self, world: &World, machine: usize) -> Option<u64> {
        let place = &world.machines[machine];
        let stalls = match self.kind {
            Kind::LateCut => self.stage == 0 && machine == self.leader && self.has_committed(place),
            Kind::OvertakenChange => self.is_overtaken(place),
            _ => false,
        };
        if !stalls {
            return None;
        }
        self.stage += 1;
        self.since = world.now;
        self.stalled = Some(machine);
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
                Kind::OvertakenChange => self.overtaken_change(world),
            };
        if !going {
            *world.plotted.entry((self.kind, self.stage)).or_default() += 1;
            world.network.join();
            world.network.calm = false;
            world.focus.clear();
            if !world.healing {
                world.quiet_until = world.quiet_until.min(world.now);
            }
            self.end_stall(world, MS);
        }
        going
    }

    /// A state that takes nothing because of this goes on.
    fn end_stall(&mut self, world: &mut World, after: u64) {
        let Some(machine) = self.stalled.take() else { return };
        world.machines[machine].stalled_until = world.now + after;
        let incarnation = world.machines[machine].incarnation;
        world.at(after, Event::Disk { machine, incarnation });
    }

    fn may_act(&mut self, world: &World) -> bool {
        let may = world.now >= self.acts_at;
        if may {
            self.acts_at = world.now + ACT_EVERY_NS;
        }
        may
    }

    fn cut_now_and_then(&mut self, world: &mut World) {
        if self.may_act(world) {
            let leader = world.raft_leader(self.group).unwrap_or(self.leader);
            cut_log(world, leader);
        }
    }

    /// Whether a machine has the entry and does not know that it is committed.
    fn has_uncommitted(&self, world: &World, machine: usize) -> bool {
        let place = &world.machines[machine];
        place.group(self.group).is_some_and(|group| {
            let committed = group.stats().committed;
            self.find(place, committed + 1, u64::MAX, |entry| self.names(entry))
                .is_some()
        })
    }

    /// Whether a machine knows that the entry is committed, and has not applied it.
    fn has_committed(&self, machine: &Machine) -> bool {
        machine.group(self.group).is_some_and(|group| {
            let stats = group.stats();
            let found = self.find(machine, stats.applied.index + 1, stats.committed, |entry| {
                self.names(entry)
            });
            found.is_some()
        })
    }

    fn names(&self, entry: &Entry) -> bool {
        entry.data.windows(self.name.len()).any(|part| part == self.name)
    }

    /// The first such entry among these of a machine's log.
    fn find(&self, machine: &Machine, from: u64, to: u64, is_it: impl Fn(&Entry) -> bool) -> Option<u64> {
        let (first, last) = machine.log.bounds(self.group)?;
        let (from, to) = (from.max(first), to.min(last));
        if from > to {
            return None;
        }
        let entries = machine.log.entries(self.group, from, to + 1, u64::MAX).unwrap();
        entries.into_iter().find(|entry| is_it(entry)).map(|entry| entry.index)
    }
}

/// Clients' keys that a group has, as a machine knows it.
fn keys_of(world: &World, group: GroupId, machine: usize) -> Vec<usize> {
    let descriptor = world.machines[machine].group(group).map(|group| group.descriptor());
    let is_there = |key: &usize| descriptor.as_ref().is_some_and(|descriptor| has(descriptor, *key));
    (0..KEYS).filter(is_there).collect()
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
