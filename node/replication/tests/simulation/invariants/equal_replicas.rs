//! At the end all members have applied the same, and hold the same rows.

use std::ops::Bound;

use partita_partition::descriptor::GroupId;
use partita_partition::storage::{Cursor as _, Family, Tier, View as _};

use crate::machine::Machine;
use crate::table::table_of;
use crate::world::World;

type Rows = Vec<(Family, Vec<u8>, Vec<u8>)>;

pub fn check(world: &World, id: GroupId) -> Result<(), String> {
    let leader = world.leader(id).ok_or("nobody leads at the end")?;
    let group = world.machines[leader].group(id).ok_or("the leader has no group")?;
    let stats = group.stats();
    let expected = rows(&world.machines[leader], id);
    for member in &stats.members.members {
        let machine = world.machines.iter().find(|machine| machine.uuid == member.store);
        let machine = machine.ok_or("a member is nowhere")?;
        let replica = machine
            .group(id)
            .ok_or(format!("machine {} has no replica", machine.number))?;
        let behind = stats.applied.index.saturating_sub(replica.stats().applied.index);
        // What was written last may be on its way.
        if behind > 100 {
            return Err(format!("machine {} is {behind} entries behind", machine.number));
        }
        if behind == 0 && replica.stats().applied == stats.applied && rows(machine, id) != expected {
            return Err(format!(
                "machine {} holds other rows than machine {leader}",
                machine.number
            ));
        }
    }
    Ok(())
}

fn rows(machine: &Machine, group: GroupId) -> Rows {
    let table = table_of(group).0.to_be_bytes();
    let mut rows = Vec::new();
    for family in Family::ALL {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut cursor = machine.state.scan(family, all, false, Tier::All).unwrap();
        while let Some((key, value)) = cursor.next().unwrap() {
            if key.starts_with(&table) {
                rows.push((family, key.to_vec(), value.to_vec()));
            }
        }
    }
    rows
}
