//! At the end what a partition counts is what it holds: a split takes away what leaves, no more and no less.

use partita_partition::Partition;
use partita_partition::descriptor::GroupId;
use partita_partition::verify::verify;
use std::sync::Arc;

use crate::world::World;

pub fn check(world: &World, id: GroupId) -> Result<(), String> {
    let leader = world.leader(id).ok_or("nobody leads at the end")?;
    let machine = &world.machines[leader];
    let group = machine.group(id).ok_or("the leader has no group")?;
    let partition = Partition::open(Arc::clone(&machine.state), group.descriptor().table, id);
    let partition = partition
        .map_err(|error| error.to_string())?
        .ok_or("the partition is not there")?;
    let found = verify(&partition.reader).map_err(|error| error.to_string())?;
    if found.differences.is_empty() {
        Ok(())
    } else {
        Err(format!("group {}: {:?}", id.0, found.differences))
    }
}
