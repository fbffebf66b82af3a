//! What can go wrong around the freeze of a merge's source.

use partita_partition::descriptor::GroupId;
use partita_replication::members::Role;
use uuid::Uuid;

use super::{PATIENCE_NS, Plot, keys_of};
use crate::faults::transfer;
use crate::world::World;

impl Plot {
    pub(super) fn late_freeze(&mut self, world: &mut World) -> bool {
        match self.stage {
            0 => self.wait_for_neighbours(world),
            1 if self.has_uncommitted(world, self.leader) => {
                // What it has sent by now arrives: the freeze, and not that it is committed.
                world.network.sever(self.leader, self.victim);
                world.focus.clear();
                (self.stage, self.until) = (2, world.now + PATIENCE_NS);
            }
            _ => {}
        }
        world.merger.request.is_some()
    }

    /// Until the two have their voters on the same stores, and different leaders: one of the others is left out.
    fn wait_for_neighbours(&mut self, world: &mut World) {
        if !self.may_act(world) {
            return;
        }
        let voters = |world: &World, group: GroupId| {
            let leader = world.leader(group)?;
            let members = world.machines[leader].group(group)?.members();
            let settled = members.members.iter().all(|member| member.role == Role::Voter);
            let mut stores: Vec<Uuid> = members.members.iter().map(|member| member.store).collect();
            stores.sort();
            (settled && !members.is_joint()).then_some((leader, stores))
        };
        let (Some(source), Some(absorber)) = (voters(world, self.group), voters(world, self.other)) else {
            return;
        };
        if source.1 != absorber.1 {
            return;
        }
        if source.0 == absorber.0 {
            return transfer(world, self.other);
        }
        let places = source.1.iter().filter_map(|store| world.place(*store));
        let victim = places
            .into_iter()
            .find(|place| *place != source.0 && *place != absorber.0);
        let Some(victim) = victim else { return };
        (self.leader, self.victim, self.stage) = (source.0, victim, 1);
        world.focus = keys_of(world, self.group, self.leader);
        world.disperse([(self.group, self.leader); 2]);
    }
}
