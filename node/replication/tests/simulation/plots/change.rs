//! What can go wrong around a change of members.

use partita_replication::time::ELECTION_NS;
use raft::eraftpb::EntryType;

use super::{Plot, keys_of};
use crate::machine::Machine;
use crate::world::{MS, SECOND, World};

/// Entries that a leader may have sent on to somebody who does not answer, and some more.
const SENT_AHEAD_MAX: u64 = 60;

impl Plot {
    pub(super) fn overtaken_change(&mut self, world: &mut World) -> bool {
        let (leader, victim) = (&world.machines[self.leader], &world.machines[self.victim]);
        let (Some(leads), Some(follows)) = (leader.group(self.group), victim.group(self.group)) else {
            return false;
        };
        let (leads, follows) = (leads.stats(), follows.stats());
        match self.stage {
            // It was refused, or is too late.
            0 if world.now - self.since > SECOND => return false,
            0 => {
                let is_change = |entry: &raft::eraftpb::Entry| entry.get_entry_type() != EntryType::EntryNormal;
                if let Some(index) = self.find(leader, leads.committed + 1, u64::MAX, is_change) {
                    // What it has sent by now arrives: the change, and not that it is committed.
                    world.network.sever(self.leader, self.victim);
                    (self.index, self.stage) = (index, 1);
                }
            }
            1 => {
                let has = |progress: &&partita_replication::stats::Progress| progress.replica == follows.replica;
                let matched = leads.progress.iter().find(has).map_or(0, |progress| progress.matched);
                if matched >= self.index && leads.committed >= self.index {
                    world.focus = keys_of(world, self.group, self.leader);
                    world.disperse([(self.group, self.leader); 2]);
                    self.stage = 2;
                }
                return follows.committed < self.index;
            }
            2 => {
                self.cut_now_and_then(world);
                let ends = |machine: usize| world.machines[machine].log.bounds(self.group);
                let (first, last) = (ends(self.leader), ends(self.victim));
                if first.map(|bounds| bounds.0) > last.map(|bounds| bounds.1 + SENT_AHEAD_MAX) {
                    world.network.join();
                    world.focus.clear();
                    (self.stage, self.until) = (3, world.now + 2 * ELECTION_NS);
                }
            }
            // The state waits: see `is_overtaken`.
            4 if world.machines[self.victim]
                .group(self.group)
                .is_some_and(|group| group.is_receiving()) =>
            {
                // All of it is there soon, as far as it can come without an answer.
                self.end_stall(world, 30 * MS);
                (self.stage, self.until) = (5, world.now + 30 * MS);
            }
            _ => {}
        }
        true
    }

    /// Whether a machine has heard at last that the change is committed.
    pub(super) fn is_overtaken(&self, machine: &Machine) -> bool {
        self.stage == 3
            && machine.number == self.victim
            && machine.group(self.group).is_some_and(|group| {
                let stats = group.stats();
                stats.committed >= self.index && stats.applied.index < self.index
            })
    }
}
