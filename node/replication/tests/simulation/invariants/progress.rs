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
        .map(|machine| match machine.group(crate::table::GROUP) {
            Some(group) => format!("  {}: {:?}", machine.number, group.stats()),
            None => format!("  {}: no replica", machine.number),
        })
        .collect();
    Err(format!(
        "only {answered} answers since everything was repaired:\n{}",
        states.join("\n")
    ))
}
