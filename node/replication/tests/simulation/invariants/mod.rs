//! What must be true at every moment, and at the end: one file each.

mod applied_entries;
mod counters;
mod election_safety;
mod epochs;
mod equal_replicas;
mod equal_states;
mod indexes;
mod lease_exclusivity;
mod linearizability;
mod log_matching;
mod merges;
mod one_effect;
mod progress;
mod ranges;
mod rest;

use partita_partition::descriptor::GroupId;
use partita_replication::stats::GroupStats;

use self::applied_entries::AppliedEntries;
use self::election_safety::ElectionSafety;
use self::epochs::Epochs;
use self::equal_states::EqualStates;
use self::log_matching::LogMatching;
use self::merges::Merges;
use self::ranges::Ranges;
use self::rest::Rest;
use crate::table::INDEX;
use crate::world::World;

#[derive(Default)]
pub struct Invariants {
    /// Clocks run apart by more than the lease allows for.
    clocks_lie: bool,
    groups: Vec<OfGroup>,
    acknowledged_at_healing: u64,
    checks: u64,
    merges: Merges,
    /// How often the group was seen to rest, with no more than a moment in between.
    pub rests: u64,
}

/// What is remembered of one group.
struct OfGroup {
    id: GroupId,
    table: u64,
    election_safety: ElectionSafety,
    applied_entries: AppliedEntries,
    log_matching: LogMatching,
    epochs: Epochs,
    equal_states: EqualStates,
    ranges: Ranges,
    rest: Rest,
    rested: bool,
}

/// The logs are compared after so many events: they are read as a whole.
const LOGS_EVERY: u64 = 200;

impl Invariants {
    pub fn new(clocks_lie: bool) -> Self {
        Self {
            clocks_lie,
            ..Self::default()
        }
    }

    pub fn elections(&self) -> u64 {
        self.groups.iter().map(|group| group.election_safety.terms()).sum()
    }

    pub fn snapshots(&self) -> u64 {
        self.groups.iter().map(|group| group.applied_entries.snapshots).sum()
    }

    pub fn healing_began(&mut self, acknowledged: u64) {
        self.acknowledged_at_healing = acknowledged;
    }

    /// After an event, at this machine (or at any).
    pub fn check(&mut self, world: &World, machine: Option<usize>) -> Result<(), String> {
        self.checks += 1;
        for number in 0..world.machines.len() {
            if machine.is_none_or(|machine| machine == number) {
                self.discover(world, number);
                ranges::check_machine(&world.machines[number])?;
            }
        }
        for of_group in &mut self.groups {
            for number in 0..world.machines.len() {
                if machine.is_none_or(|machine| machine == number)
                    && let Some(group) = world.machines[number].group(of_group.id)
                {
                    self.rests += u64::from(of_group.check(world, number, &group.stats())?);
                }
            }
            if !self.clocks_lie {
                lease_exclusivity::check(world, of_group.id)?;
            }
            if self.checks.is_multiple_of(LOGS_EVERY) {
                of_group.log_matching.check(world, of_group.id)?;
            }
        }
        if self.checks.is_multiple_of(LOGS_EVERY) {
            world
                .machines
                .iter()
                .try_for_each(|machine| self.merges.check(machine))?;
        }
        Ok(())
    }

    /// Groups that are split off are looked at, too.
    fn discover(&mut self, world: &World, number: usize) {
        let groups = world.machines[number].store.iter().flat_map(|store| store.groups());
        for group in groups {
            if !self.groups.iter().any(|known| known.id == group.id()) {
                self.groups.push(OfGroup::new(group.id(), group.descriptor().table.0));
            }
        }
    }

    /// At the end, when everything has been repaired for a while.
    pub fn finish(&mut self, world: &World) -> Result<(), String> {
        linearizability::check(world, self.clocks_lie)?;
        progress::check(world, self.acknowledged_at_healing)?;
        ranges::cover(world)?;
        one_effect::check(
            self.groups
                .iter()
                .filter(|of_group| of_group.table != INDEX.0)
                .map(|of_group| (of_group.id, &of_group.applied_entries)),
        )?;
        Merges::finish(world)?;
        indexes::check(world)?;
        for of_group in &mut self.groups {
            of_group.log_matching.check(world, of_group.id)?;
            if world.absorbed.contains_key(&of_group.id) {
                continue;
            }
            equal_replicas::check(world, of_group.id)?;
            counters::check(world, of_group.id)?;
        }
        Ok(())
    }
}

impl OfGroup {
    fn new(id: GroupId, table: u64) -> Self {
        Self {
            id,
            table,
            election_safety: ElectionSafety::default(),
            applied_entries: AppliedEntries::default(),
            log_matching: LogMatching::default(),
            epochs: Epochs::default(),
            equal_states: EqualStates::default(),
            ranges: Ranges::default(),
            rest: Rest::default(),
            rested: false,
        }
    }

    /// Looks at one replica; whether its group was seen to go to rest.
    fn check(&mut self, world: &World, number: usize, stats: &GroupStats) -> Result<bool, String> {
        let machine = &world.machines[number];
        self.election_safety.check(number, stats)?;
        merges::check(number, self.id, stats)?;
        self.epochs.check(world, number, stats)?;
        self.applied_entries.check(machine, self.id, stats)?;
        self.rest.check(world, self.id, number, stats)?;
        if let Some(group) = machine.group(self.id) {
            self.ranges.check(number, stats.applied.index, &group.descriptor())?;
            self.equal_states.check(machine, stats.applied, &group.descriptor())?;
        }
        let changed = stats.serving > 0 && std::mem::replace(&mut self.rested, stats.resting) != stats.resting;
        Ok(changed && stats.resting)
    }
}
