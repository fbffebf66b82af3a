//! Log matching: entries of the same index and term are the same, and so are all before them. And where nothing waits to be
//! written, the log has the term in which its replica is.

use std::collections::BTreeMap;

use partita_partition::descriptor::GroupId;
use partita_replication::log::LogEngine as _;
use partita_replication::log::StoredGroup;

use crate::machine::Machine;
use crate::world::World;

#[derive(Default)]
pub struct LogMatching {
    /// Content of an entry, and the term of the one before it.
    entries: BTreeMap<(u64, u64), (Vec<u8>, u64)>,
}

impl LogMatching {
    pub fn check(&mut self, world: &World, group: GroupId) -> Result<(), String> {
        for machine in &world.machines {
            let groups = machine.log.groups().unwrap();
            if let Some(stored) = groups.iter().find(|stored| stored.id == group) {
                self.check_log(machine, stored)?;
                check_term(machine, stored)?;
            }
        }
        Ok(())
    }

    fn check_log(&mut self, machine: &Machine, stored: &StoredGroup) -> Result<(), String> {
        let mut before = stored.truncated.term;
        let first = stored.truncated.index + 1;
        if first > stored.last {
            return Ok(());
        }
        for entry in machine
            .log
            .entries(stored.id, first, stored.last + 1, u64::MAX)
            .unwrap()
        {
            let content = [&entry.data[..], &entry.context[..]].concat();
            let known = self.entries.entry((entry.index, entry.term));
            let known = known.or_insert_with(|| (content.clone(), before));
            if known.0 != content || known.1 != before {
                return Err(format!(
                    "machine {} has another entry {} of term {}, behind one of term {before} and not {}",
                    machine.number, entry.index, entry.term, known.1
                ));
            }
            before = entry.term;
        }
        Ok(())
    }
}

fn check_term(machine: &Machine, stored: &StoredGroup) -> Result<(), String> {
    let idle = machine.is_idle();
    match machine.group(stored.id).filter(|_| idle) {
        Some(group) if group.stats().term != stored.hard_state.term => Err(format!(
            "machine {} is in term {} and its log in term {}",
            machine.number,
            group.stats().term,
            stored.hard_state.term
        )),
        _ => Ok(()),
    }
}
