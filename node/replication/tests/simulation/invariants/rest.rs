//! A group in which nothing goes on, where everything is repaired, keeps its leader: all of it comes to rest, and nobody misses
//! anybody.

use partita_partition::descriptor::GroupId;
use partita_replication::stats::GroupStats;

use crate::world::World;

/// Of one group.
#[derive(Default)]
pub struct Rest {
    /// The term in which it was led when the last moments began.
    term: Option<u64>,
}

impl Rest {
    pub fn check(&mut self, world: &World, group: GroupId, machine: usize, stats: &GroupStats) -> Result<(), String> {
        if !world.is_at_rest() {
            return Ok(());
        }
        match self.term {
            None if stats.serving > 0 => self.term = Some(stats.term),
            Some(term) if stats.term > term => {
                return Err(format!(
                    "nothing goes on in group {}, which was led in term {term}; machine {machine} is in term {}",
                    group.0, stats.term
                ));
            }
            _ => {}
        }
        Ok(())
    }
}
