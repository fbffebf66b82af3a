//! While one replica holds the lease, no other does, and none has applied an entry of a later term: whoever reads under
//! a lease reads the newest there is.

use partita_partition::descriptor::GroupId;

use crate::world::World;

pub fn check(world: &World, group: GroupId) -> Result<(), String> {
    let mut holder: Option<(usize, u64)> = None;
    let mut applied = (0, 0);
    for machine in &world.machines {
        let Some(group) = machine.group(group) else { continue };
        let stats = group.stats();
        applied = applied.max((stats.applied.term, machine.number));
        if stats.serving == 0 || machine.local(world.now) >= stats.lease_until {
            continue;
        }
        if let Some((other, term)) = holder {
            return Err(format!(
                "machines {other} (term {term}) and {} (term {}) both hold the lease",
                machine.number, stats.serving
            ));
        }
        holder = Some((machine.number, stats.serving));
    }
    if let Some((machine, term)) = holder.filter(|holder| holder.1 < applied.0) {
        let (newer, other) = applied;
        return Err(format!(
            "machine {machine} holds the lease in term {term}, and machine {other} has applied an entry of term {newer}"
        ));
    }
    Ok(())
}
