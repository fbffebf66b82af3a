//! What breaks, and when: drawn from the seed.

use partita_partition::descriptor::GroupId;
use partita_replication::log::memory::Fault;
use rand::Rng as _;
use rand::rngs::SmallRng;
use uuid::Uuid;

use partita_replication::{MergeRequest, SplitRequest};

use crate::event::Event;
use crate::plots::{Kind, Plot};
use crate::world::{MS, SECOND, World};

#[derive(Default)]
pub struct Faults {
    /// Clocks run apart by more than the lease allows for: reads may then be old, and only they.
    pub clocks_lie: bool,
    /// How much each kind of fault is liked.
    weights: [u32; 12],
    /// Of ten times so often something breaks just when a partition's borders change.
    at_borders: u32,
    /// Of ten times so often a process dies between a snapshot's mark and its installation.
    at_installs: u32,
    /// Of ten times so often a partition is plotted against when its borders change.
    plotting: u32,
    pub crashes: u64,
}

impl Faults {
    pub fn draw(random: &mut SmallRng) -> Self {
        let mut weights = [0; 12];
        for weight in &mut weights {
            // Swarms: each run has its own mixture, and most lack something.
            *weight = if random.random_ratio(1, 3) {
                0
            } else {
                random.random_range(1..10)
            };
        }
        weights[11] += 1;
        Self {
            clocks_lie: random.random_ratio(1, 10),
            weights,
            at_borders: random.random_range(0..8),
            at_installs: random.random_range(0..4),
            // While a plot lasts little else breaks: half of the runs have none.
            plotting: random.random_range(0..8) * random.random_range(0..2),
            crashes: 0,
        }
    }

    /// How fast a clock runs, in parts of ten thousand.
    pub fn draw_drift(&self, random: &mut SmallRng) -> i64 {
        if self.clocks_lie {
            random.random_range(-3000..3000)
        } else {
            // Two of them are apart by no more than five in a hundred.
            random.random_range(-240..240)
        }
    }

    /// Something breaks. When the next thing does.
    pub fn strike(&mut self, world: &mut World) -> u64 {
        let total: u32 = self.weights.iter().sum();
        let mut draw = world.random.random_range(0..total);
        let kind = self.weights.iter().position(|weight| match draw.checked_sub(*weight) {
            Some(rest) => {
                draw = rest;
                false
            }
            None => true,
        });
        let machines = world.machines.len();
        let groups = world.groups();
        let group = groups[world.random.random_range(0..groups.len())];
        let machine = match world.leader(group) {
            // The leader is where it hurts.
            Some(leader) if world.random.random_ratio(1, 2) => leader,
            _ => world.random.random_range(0..machines),
        };
        match kind {
            Some(0 | 1) => self.crash(world, machine),
            Some(2) => {
                let (inwards, outwards) = [(true, true), (true, false), (false, true)][world.random.random_range(0..3)];
                world.network.isolate(machine, machines, inwards, outwards);
            }
            Some(3) => {
                let other = world.random.random_range(0..machines);
                world.network.separate(machine, other);
            }
            Some(4) => {
                world.network.lost = world.random.random_range(0..200);
                world.network.late = world.random.random_range(0..100);
                world.network.repeated = world.random.random_range(0..100);
            }
            Some(5) => {
                let drift = self.draw_drift(&mut world.random);
                let now = world.now;
                world.machines[machine].drift(now, drift);
                world.disk_ns = [2 * MS, 20 * MS, 300 * MS][world.random.random_range(0..3)];
            }
            Some(6) => {
                let until = world.now + world.random.random_range(50 * MS..3 * SECOND);
                match world.random.random_ratio(1, 2) {
                    true => world.machines[machine].stopped_until = until,
                    // A thread that waits for something, or for its turn.
                    false => world.machines[machine].uncounted_until = until,
                }
            }
            Some(7) => {
                world.quiet_until = world.now + world.random.random_range(SECOND..4 * SECOND);
                return 3 * SECOND;
            }
            Some(8) => disk(world, machine),
            Some(9) => return forget(world, group),
            Some(10) => stall(world, machine),
            _ => transfer(world, group),
        }
        if world.random.random_ratio(1, 3) {
            world.network.join();
        }
        world.random.random_range(50 * MS..900 * MS)
    }

    /// A partition is about to be cut, or to be frozen, or to absorb another one, and this machine leads it: whoever is about
    /// to hear of it may not, and whoever has decided it may take long to apply it.
    pub fn at_border(&self, world: &mut World, leader: usize) {
        if world.healing || world.plot.is_some() || !world.random.random_ratio(self.at_borders, 10) {
            return;
        }
        match world.random.random_range(0..4) {
            0 => stall(world, leader),
            1 => {
                let soon = world.random.random_range(0..60 * MS);
                let to = world.random.random_range(0..world.machines.len());
                world.at(soon, Event::Sever { from: leader, to });
            }
            2 => {
                // Only one hears of it, and it answers.
                let soon = world.random.random_range(0..20 * MS);
                let spared = world.random.random_range(0..world.machines.len());
                for to in (0..world.machines.len()).filter(|to| *to != spared) {
                    world.at(soon, Event::Sever { from: leader, to });
                }
            }
            _ => {
                let soon = world.random.random_range(0..60 * MS);
                world.at(soon, Event::Crash { machine: leader });
            }
        }
    }

    /// A partition is about to be cut: see [`crate::plots`].
    pub fn plot_split(&self, world: &mut World, group: GroupId, request: &SplitRequest) {
        let kinds = [Kind::LateCut, Kind::OldRange, Kind::UnbornChild, Kind::LostSplit];
        let kind = kinds[world.random.random_range(0..kinds.len())];
        self.plot(world, kind, (group, request.child), request.id, None);
    }

    /// A merge's source is about to be frozen.
    pub fn plot_freeze(&self, world: &mut World, request: &MergeRequest) {
        // It is asked for more than once.
        if world.random.random_ratio(1, 3) {
            let groups = (request.source, request.absorber);
            self.plot(world, Kind::LateFreeze, groups, request.id, None);
        }
    }

    /// A voter's place is about to be taken by another one.
    pub fn plot_change(&self, world: &mut World, group: GroupId, goes: Option<usize>) {
        // There are many of them.
        if world.random.random_ratio(1, 6) {
            self.plot(world, Kind::OvertakenChange, (group, group), Uuid::nil(), goes);
        }
    }

    fn plot(&self, world: &mut World, kind: Kind, groups: (GroupId, GroupId), id: Uuid, goes: Option<usize>) {
        if !world.healing && world.plot.is_none() && world.random.random_ratio(self.plotting, 10) {
            world.plot = Plot::lay(world, kind, groups, id, goes);
        }
    }

    /// Whether a process dies that has put a snapshot in its log's place, and has not installed it.
    pub fn at_install(&self, world: &mut World) -> bool {
        !world.healing && world.random.random_ratio(self.at_installs, 10)
    }

    fn crash(&mut self, world: &mut World, machine: usize) {
        let all = world.random.random_ratio(1, 12);
        for number in 0..world.machines.len() {
            if number == machine || all {
                self.crash_one(world, number);
            }
        }
    }

    /// A process dies, and comes back.
    pub fn crash_one(&mut self, world: &mut World, machine: usize) {
        if !world.machines[machine].is_up() {
            return;
        }
        self.crashes += 1;
        world.crash(machine);
        let after = match world.random.random_ratio(1, 2) {
            // Back before anybody has missed it.
            true => world.random.random_range(MS..100 * MS),
            false => world.random.random_range(100 * MS..3 * SECOND),
        };
        world.at(after, Event::Start { machine });
    }
}

/// What a machine commits is durable, and made known to others, long before its state takes it.
fn stall(world: &mut World, machine: usize) {
    let stall = world.random.random_range(100 * MS..4 * SECOND);
    world.machines[machine].stalled_until = world.now + stall;
}

/// A machine's disk fails at one of its next writes, or its state is flushed in the middle of something.
fn disk(world: &mut World, machine: usize) {
    let after = world.random.random_range(1..20);
    let (log, state) = (&world.machines[machine].log, &world.machines[machine].state);
    match world.random.random_range(0..4) {
        0 => log.fail_at(log.writes() + after, Fault::Lost),
        1 => log.fail_at(log.writes() + after, Fault::Kept),
        2 => state.fail_at(state.writes() + after),
        _ => {
            state.flush_at(state.writes() + after);
            state.fail_at(state.writes() + after + 1);
        }
    }
}

/// Whoever heard the leader last forgets it, while somebody who has not heard it for long asks for votes.
fn forget(world: &mut World, group: GroupId) -> u64 {
    let Some(leader) = world.leader(group) else { return MS };
    world.network.join();
    let machines = world.machines.len();
    let deaf = world.random.random_range(0..machines);
    if deaf != leader {
        world.network.separate(leader, deaf);
    }
    // Nothing is written, so that whoever is deaf does not fall behind, but the group is not at rest yet.
    world.quiet_until = world.now + 2 * SECOND;
    let after = world.random.random_range(450 * MS..900 * MS);
    for machine in (0..machines).filter(|machine| *machine != leader && *machine != deaf) {
        if world.random.random_ratio(1, 2) {
            let late = world.random.random_range(0..50 * MS);
            world.at(after + late, Event::Blink { machine });
        }
    }
    2 * SECOND
}

/// The leader is asked to hand over.
pub fn transfer(world: &mut World, group: GroupId) {
    let Some(leader) = world
        .leader(group)
        .filter(|leader| world.machines[*leader].stopped_until <= world.now)
    else {
        return;
    };
    let Some(group) = world.machines[leader].group(group) else {
        return;
    };
    let voters = group.members().voting()[0].clone();
    let to = voters[world.random.random_range(0..voters.len())];
    // It may just have lost the leadership.
    let _ = group.transfer_leadership(to);
    world.after(leader);
}
