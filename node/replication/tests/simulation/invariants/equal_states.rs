//! Whoever has applied the same entry last holds the same rows, and counts the same. They are looked at where machines happen
//! to stand, not at each entry.

use std::collections::BTreeMap;

use partita_partition::descriptor::{LogPosition, PartitionDescriptor};

use super::equal_replicas::{Rows, rows};
use crate::machine::Machine;

/// Of one group.
#[derive(Default)]
pub struct EqualStates {
    /// What was seen first at each entry, and where.
    states: BTreeMap<LogPosition, (Rows, usize)>,
    /// Where each machine's process stood when it was looked at last: incarnation and entry.
    seen: BTreeMap<usize, (u64, LogPosition)>,
}

impl EqualStates {
    pub fn check(
        &mut self,
        machine: &Machine,
        applied: LogPosition,
        descriptor: &PartitionDescriptor,
    ) -> Result<(), String> {
        let now = (machine.incarnation, applied);
        if applied.index == 0 || self.seen.insert(machine.number, now) == Some(now) {
            return Ok(());
        }
        let here = rows(machine, descriptor);
        let (first, seen_at) = self
            .states
            .entry(applied)
            .or_insert_with(|| (here.clone(), machine.number));
        if *first == here {
            return Ok(());
        }
        let only = |one: &Rows, other: &Rows| -> Rows {
            let rows = one.iter().filter(|row| !other.contains(row));
            rows.cloned().collect()
        };
        let (more, less) = (only(&here, first), only(first, &here));
        Err(format!(
            "group {}: machine {} holds other rows at entry {} than machine {seen_at} did\nhere: {more:?}\nthere: {less:?}",
            descriptor.group.0, machine.number, applied.index
        ))
    }
}
