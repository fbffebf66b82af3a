//! A frozen partition serves nobody. A merge is decided once: whoever knows what came of it knows the same. At the end no
//! merge is left undecided, and of an absorbed group nothing is left on any machine.

use std::collections::BTreeMap;

use partita_partition::Partition;
use partita_partition::descriptor::GroupId;
use partita_partition::merge::MergeDone;
use partita_partition::storage::memory::MemoryStorage;
use partita_replication::stats::GroupStats;

use crate::machine::Machine;
use crate::world::World;

#[derive(Default)]
pub struct Merges {
    decided: BTreeMap<u128, MergeDone>,
}

pub fn check(machine: usize, group: GroupId, stats: &GroupStats) -> Result<(), String> {
    match stats.frozen {
        Some(_) if stats.serving > 0 || stats.lease_until > 0 => Err(format!(
            "machine {machine} serves group {} although it is frozen",
            group.0
        )),
        _ => Ok(()),
    }
}

impl Merges {
    pub fn check(&mut self, machine: &Machine) -> Result<(), String> {
        let groups = machine.store.iter().flat_map(|store| store.groups());
        for group in groups {
            let (table, id) = (group.descriptor().table, group.id());
            let partition = Partition::<MemoryStorage>::open(machine.state.clone(), table, id).unwrap();
            let Some(partition) = partition else { continue };
            for done in partition.reader.lineage().unwrap().merges {
                let first = self.decided.entry(done.id).or_insert_with(|| done.clone());
                if *first != done {
                    return Err(format!(
                        "machine {} knows another end of a merge in group {}: {done:?}, not {first:?}",
                        machine.number, id.0
                    ));
                }
            }
        }
        Ok(())
    }

    pub fn finish(world: &World) -> Result<(), String> {
        if let Some(request) = world.merger.request {
            return Err(format!("a merge has come to no end: {request:?}"));
        }
        for machine in &world.machines {
            let here = Partition::<MemoryStorage>::list(&machine.state).unwrap();
            if let Some(left) = here.iter().find(|left| world.absorbed.contains_key(&left.group)) {
                return Err(format!(
                    "machine {} still has group {}, which was absorbed by {:?}",
                    machine.number, left.group.0, world.absorbed[&left.group]
                ));
            }
        }
        Ok(())
    }
}
