//! Ranges never overlap on a machine, and are the same wherever the same entry is applied, with an epoch that only grows. At
//! the end the leaders' ranges are each table's key space, without a gap and without an overlap.

use std::collections::BTreeMap;

use partita_model::key::KeyBytes;
use partita_partition::descriptor::{GroupId, PartitionDescriptor};

use crate::machine::Machine;
use crate::table::FIRST_GROUPS;
use crate::world::World;

/// Range epoch and borders.
type Range = (u64, KeyBytes, Option<KeyBytes>);

/// Of one group.
#[derive(Default)]
pub struct Ranges {
    /// By the entry that was applied last.
    ranges: BTreeMap<u64, Range>,
}

impl Ranges {
    pub fn check(&mut self, machine: usize, applied: u64, descriptor: &PartitionDescriptor) -> Result<(), String> {
        if applied == 0 {
            // Room for a replica that has no snapshot yet: what it was told of the range is old.
            return Ok(());
        }
        let group = descriptor.group.0;
        let now = (descriptor.range_epoch, descriptor.start.clone(), descriptor.end.clone());
        if let Some((index, before)) = self.ranges.range(..applied).next_back()
            && before.0 > now.0
        {
            return Err(format!(
                "group {group}: the range epoch fell from {} at entry {index} to {} at entry {applied} on machine {machine}",
                before.0, now.0
            ));
        }
        let first = self.ranges.entry(applied).or_insert_with(|| now.clone());
        if *first == now {
            Ok(())
        } else {
            Err(format!(
                "group {group}: machine {machine} has another range at entry {applied}: {now:?}, not {first:?}"
            ))
        }
    }
}

pub fn check_machine(machine: &Machine) -> Result<(), String> {
    let groups = machine.store.as_ref().map(|store| store.groups()).unwrap_or_default();
    for (at, group) in groups.iter().enumerate() {
        for other in &groups[at + 1..] {
            if group.descriptor().overlaps(&other.descriptor()) {
                return Err(format!(
                    "machine {}: groups {} and {} have keys in common",
                    machine.number,
                    group.id().0,
                    other.id().0
                ));
            }
        }
    }
    Ok(())
}

/// At the end.
pub fn cover(world: &World) -> Result<(), String> {
    for table in FIRST_GROUPS {
        let mut ranges = Vec::new();
        for group in world.groups() {
            let descriptor = leaders(world, group)?;
            if descriptor.table.0 == table.0 {
                ranges.push((descriptor.start.clone(), descriptor.end.clone()));
            }
        }
        ranges.sort();
        let first = ranges.first().is_some_and(|range| range.0.0.is_empty());
        let last = ranges.last().is_some_and(|range| range.1.is_none());
        let joined = ranges.windows(2).all(|pair| pair[0].1.as_ref() == Some(&pair[1].0));
        if !(first && last && joined) {
            return Err(format!(
                "the partitions of table {} are not its key space: {ranges:?}",
                table.0
            ));
        }
    }
    Ok(())
}

fn leaders(world: &World, group: GroupId) -> Result<PartitionDescriptor, String> {
    let leader = world.leader(group);
    let states = || {
        let states = world.machines.iter().filter_map(|machine| {
            let stats = machine.group(group)?.stats();
            Some(format!("  {}: {stats:?}", machine.number))
        });
        states.collect::<Vec<_>>().join("\n")
    };
    let leader = leader.ok_or_else(|| format!("nobody leads group {} at the end:\n{}", group.0, states()))?;
    let group = world.machines[leader].group(group).ok_or("the leader has no group")?;
    Ok(PartitionDescriptor::clone(&group.descriptor()))
}
