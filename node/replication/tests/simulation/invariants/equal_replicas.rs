//! At the end all members have applied the same, and hold the same rows.

use std::ops::Bound;

use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::row;
use partita_partition::storage::{Cursor as _, Family, Tier, View as _};

use crate::machine::Machine;
use crate::world::World;

pub type Rows = Vec<(Family, Vec<u8>, Vec<u8>)>;

pub fn check(world: &World, id: GroupId) -> Result<(), String> {
    let leader = world.leader(id).ok_or("nobody leads at the end")?;
    let group = world.machines[leader].group(id).ok_or("the leader has no group")?;
    let stats = group.stats();
    let descriptor = group.descriptor();
    let expected = rows(&world.machines[leader], &descriptor);
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
        if behind == 0 && replica.stats().applied == stats.applied && rows(machine, &descriptor) != expected {
            return Err(format!(
                "machine {} holds other rows than machine {leader}",
                machine.number
            ));
        }
    }
    Ok(())
}

/// The partition's rows: those of its range, and those of its group.
pub fn rows(machine: &Machine, descriptor: &PartitionDescriptor) -> Rows {
    let (from, to) = row::range(descriptor);
    let own = row::meta_prefix(descriptor.table, descriptor.group);
    let mut rows = Vec::new();
    for family in Family::ALL {
        let begin = match family {
            Family::Items | Family::LocalIndexes => Bound::Included(&from[..]),
            Family::Changes | Family::Meta => Bound::Included(&own[..]),
            Family::Expiry => Bound::Unbounded,
        };
        let mut cursor = machine
            .state
            .scan(family, (begin, Bound::Unbounded), false, Tier::All)
            .unwrap();
        while let Some((key, value)) = cursor.next().unwrap() {
            let belongs = match family {
                Family::Items | Family::LocalIndexes => *key >= from[..] && to.as_ref().is_none_or(|to| *key < to[..]),
                Family::Changes | Family::Meta => key.starts_with(&own),
                Family::Expiry => row::split_expiry(key).is_some_and(|(_, key)| descriptor.contains(&key)),
            };
            if belongs {
                rows.push((family, key.to_vec(), value.to_vec()));
            } else if family != Family::Expiry {
                // They lie together.
                break;
            }
        }
    }
    rows
}
