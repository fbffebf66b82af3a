//! Once everything is repaired, clients are answered: many of them.

use crate::world::World;

/// Four clients ask every few milliseconds, for ten seconds.
const ANSWERS_MIN: u64 = 50;

pub fn check(world: &World, before: u64) -> Result<(), String> {
    let answered = world.clients.acknowledged - before;
    if answered >= ANSWERS_MIN {
        return Ok(());
    }
    let states: Vec<String> = world
        .machines
        .iter()
        .flat_map(|machine| {
            world
                .groups()
                .into_iter()
                .map(|group| (machine.number, machine.group(group)))
        })
        .map(|(number, group)| match group {
            Some(group) => format!("  {number}: {:?}", group.stats()),
            None => format!("  {number}: no replica"),
        })
        .collect();
    Err(format!(
        "only {answered} answers since everything was repaired:\n{}",
        states.join("\n")
    ))
}
