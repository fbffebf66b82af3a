//! A machine's term never goes back (it is synced before it is shown), and the members are the same wherever the same
//! entry is applied, with an epoch that only grows.

use std::collections::BTreeMap;
use std::sync::Arc;

use partita_replication::members::Members;
use partita_replication::stats::GroupStats;

use crate::world::World;

#[derive(Default)]
pub struct Epochs {
    /// Replica and term of each machine.
    terms: BTreeMap<usize, (u64, u64)>,
    /// Members by the entry that was applied last.
    members: BTreeMap<u64, Arc<Members>>,
}

impl Epochs {
    pub fn check(&mut self, world: &World, machine: usize, stats: &GroupStats) -> Result<(), String> {
        if world.machines[machine].turn_is_idle() {
            let seen = self.terms.entry(machine).or_default();
            if seen.0 == stats.replica && stats.term < seen.1 {
                return Err(format!(
                    "machine {machine} went back from term {} to {}",
                    seen.1, stats.term
                ));
            }
            *seen = (stats.replica, stats.term);
        }
        if stats.members.members.is_empty() {
            return Ok(());
        }
        let now = &stats.members;
        let index = stats.applied.index;
        if let Some(before) = self.members.range(..index).next_back()
            && before.1.epoch > now.epoch
        {
            return Err(format!(
                "the epoch fell from {} to {} at entry {index}",
                before.1.epoch, now.epoch
            ));
        }
        let first = self.members.entry(index).or_insert_with(|| Arc::clone(now));
        if first.epoch == now.epoch && first.members == now.members {
            Ok(())
        } else {
            Err(format!(
                "machine {machine} has other members at entry {index}: {now:?}, not {first:?}"
            ))
        }
    }
}
