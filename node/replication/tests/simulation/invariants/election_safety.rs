//! There is at most one leader in a term.

use std::collections::BTreeMap;

use partita_replication::stats::GroupStats;

#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<u64, usize>,
}

impl ElectionSafety {
    pub fn terms(&self) -> u64 {
        self.leaders.len() as u64
    }

    pub fn check(&mut self, machine: usize, stats: &GroupStats) -> Result<(), String> {
        if !stats.leader {
            return Ok(());
        }
        let leader = *self.leaders.entry(stats.term).or_insert(machine);
        if leader == machine {
            Ok(())
        } else {
            Err(format!(
                "machines {leader} and {machine} both led in term {}",
                stats.term
            ))
        }
    }
}
