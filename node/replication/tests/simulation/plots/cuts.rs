//! What can go wrong around a cut.

use partita_partition::descriptor::GroupId;
use partita_replication::time::ELECTION_NS;

use super::{Plot, cut_log, keys_of};
use crate::event::Event;
use crate::world::{MS, SECOND, World};

/// Clients have so long to find a leader that has not applied a cut: its lease does not last longer.
const LATE_READS_NS: u64 = 200 * MS;

impl Plot {
    pub(super) fn late_cut(&mut self, world: &mut World) -> bool {
        if self.stage != 1 {
            return self.stage == 0;
        }
        let Some(child) = world.leader(self.other) else {
            return world.now - self.since < 2 * ELECTION_NS;
        };
        world.focus = keys_of(world, self.other, child);
        world.disperse([(self.other, child), (self.group, self.leader)]);
        world.quiet_until = world.now;
        self.end_stall(world, LATE_READS_NS);
        self.stage = 2;
        self.until = world.now + LATE_READS_NS;
        !world.focus.is_empty()
    }

    /// The learner that has been promised a replica, and has no room for it.
    pub(super) fn find_promised(&mut self, world: &World) {
        let Some(group) = world.machines[self.leader].group(self.group) else {
            return;
        };
        let members = group.members();
        let places = members.members.iter().filter_map(|member| world.place(member.store));
        let without = |place: &usize| world.machines[*place].group(self.group).is_none();
        self.promised = places.into_iter().find(without);
    }

    pub(super) fn old_range(&mut self, world: &mut World) -> bool {
        let Some(promised) = self.promised else {
            self.find_promised(world);
            return true;
        };
        let cut = |machine: usize| world.machines[machine].group(self.other).is_some();
        match self.stage {
            0 if cut(self.leader) => return false,
            0 if self.has_uncommitted(world, self.leader) => {
                // What it has sent by now arrives: the cut, and not that it is committed.
                world.network.sever(self.leader, self.victim);
                world.network.sever(self.leader, promised);
                self.stage = 1;
            }
            1 if cut(self.victim) => return false,
            1 => {
                let there = |group: GroupId| world.machines[promised].group(group).is_some();
                if cut(self.leader)
                    && there(self.group)
                    && there(self.other)
                    && self.has_uncommitted(world, self.victim)
                {
                    world.network.join();
                    world.crash(self.leader);
                    world.at(3 * SECOND, Event::Start { machine: self.leader });
                    (self.stage, self.since) = (2, world.now);
                }
            }
            2 => {
                if world.now - self.since > ELECTION_NS + 60 * MS {
                    // Whoever has applied the cut votes, and does not stand for election.
                    for other in &self.others {
                        world.machines[*other].uncounted_until = world.now + 2 * SECOND;
                    }
                }
                let leads = world.raft_leader(self.group);
                if leads == Some(self.victim) {
                    for other in &self.others {
                        world.network.sever(*other, self.victim);
                    }
                    self.stage = 3;
                    self.until = world.now + ELECTION_NS;
                }
                return leads.is_none_or(|leads| leads == self.victim || leads == self.leader);
            }
            _ => {}
        }
        true
    }

    pub(super) fn unborn_child(&mut self, world: &mut World) -> bool {
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

    pub(super) fn lost_split(&mut self, world: &mut World) -> bool {
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
}
