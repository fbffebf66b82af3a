//! State machine safety: whoever applies an entry of an index applies the same one.

use std::collections::BTreeMap;

use partita_partition::descriptor::{GroupId, LogPosition};
use partita_replication::log::LogEngine as _;
use partita_replication::stats::GroupStats;

use crate::machine::Machine;

#[derive(Default)]
pub struct AppliedEntries {
    /// Term and content of each applied entry.
    pub entries: BTreeMap<u64, (u64, Vec<u8>)>,
    /// How far each machine's process has been looked at: incarnation and index.
    seen: BTreeMap<usize, (u64, u64)>,
    pub snapshots: u64,
}

impl AppliedEntries {
    pub fn check(&mut self, machine: &Machine, group: GroupId, stats: &GroupStats) -> Result<(), String> {
        let LogPosition { index, term } = stats.applied;
        let seen = self.seen.entry(machine.number).or_default();
        if seen.0 != machine.incarnation || seen.1 > index {
            // What a process finds at its start it applied before, or got by a snapshot.
            *seen = (machine.incarnation, index);
        }
        for applied in seen.1 + 1..=index {
            let entry = match machine.log.entries(group, applied, applied + 1, u64::MAX) {
                Ok(mut entries) => entries.remove(0),
                Err(_) => {
                    // Its log begins behind a snapshot.
                    self.snapshots += 1;
                    break;
                }
            };
            let content = [&entry.data[..], &entry.context[..]].concat();
            let known = self
                .entries
                .entry(applied)
                .or_insert_with(|| (entry.term, content.clone()));
            if known.0 != entry.term || known.1 != content {
                return Err(format!(
                    "machine {} applied another entry {applied}: of term {}, not of term {}",
                    machine.number, entry.term, known.0
                ));
            }
        }
        seen.1 = index;
        match self.entries.get(&index) {
            Some(known) if known.0 != term => Err(format!(
                "machine {} stands at entry {index} of term {term}, others at one of term {}",
                machine.number, known.0
            )),
            _ => Ok(()),
        }
    }
}
