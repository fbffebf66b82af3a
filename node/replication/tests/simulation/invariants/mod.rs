//! What must be true at every moment, and at the end: one file each.

mod applied_entries;
mod election_safety;
mod epochs;
mod equal_replicas;
mod lease_exclusivity;
mod linearizability;
mod log_matching;
mod one_effect;
mod progress;

use partita_replication::stats::GroupStats;

use self::applied_entries::AppliedEntries;
use self::election_safety::ElectionSafety;
use self::epochs::Epochs;
use self::log_matching::LogMatching;
use crate::table::GROUP;
use crate::world::World;

#[derive(Default)]
pub struct Invariants {
    /// Clocks run apart by more than the lease allows for.
    clocks_lie: bool,
    election_safety: ElectionSafety,
    applied_entries: AppliedEntries,
    log_matching: LogMatching,
    epochs: Epochs,
    acknowledged_at_healing: u64,
    checks: u64,
    /// How often the group was seen to rest, with no more than a moment in between.
    pub rests: u64,
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
        self.election_safety.terms()
    }

    pub fn snapshots(&self) -> u64 {
        self.applied_entries.snapshots
    }

    pub fn healing_began(&mut self, acknowledged: u64) {
        self.acknowledged_at_healing = acknowledged;
    }

    /// After an event, at this machine (or at any).
    pub fn check(&mut self, world: &World, machine: Option<usize>) -> Result<(), String> {
        self.checks += 1;
        for number in 0..world.machines.len() {
            if machine.is_none_or(|machine| machine == number)
                && let Some(group) = world.machines[number].group(GROUP)
            {
                let stats: GroupStats = group.stats();
                self.election_safety.check(number, &stats)?;
                self.epochs.check(world, number, &stats)?;
                self.applied_entries.check(&world.machines[number], &stats)?;
                if stats.serving > 0 && std::mem::replace(&mut self.rested, stats.resting) != stats.resting {
                    self.rests += u64::from(stats.resting);
                }
            }
        }
        if !self.clocks_lie {
            lease_exclusivity::check(world)?;
        }
        if self.checks.is_multiple_of(LOGS_EVERY) {
            self.log_matching.check(world)?;
        }
        Ok(())
    }

    /// At the end, when everything has been repaired for a while.
    pub fn finish(&mut self, world: &World) -> Result<(), String> {
        self.log_matching.check(world)?;
        linearizability::check(world, self.clocks_lie)?;
        one_effect::check(&self.applied_entries)?;
        progress::check(world, self.acknowledged_at_healing)?;
        equal_replicas::check(world)
    }
}
