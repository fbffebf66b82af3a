//! What clients were told can have happened one after the other, key by key, with the state at the end as the last read:
//! so no acknowledged write is lost, and no read is old.

use std::collections::HashSet;

use partita_partition::descriptor::GroupId;

use crate::client::KEYS;
use crate::history::{Asked, History, Told};
use crate::table;
use crate::world::World;

pub fn check(world: &World, clocks_lie: bool) -> Result<(), String> {
    let mut history = History {
        operations: world.clients.history.operations.clone(),
    };
    let refused: HashSet<usize> = world.clients.refused.clone();
    for key in 0..KEYS {
        let leads = |group: &GroupId| {
            let leader = world.leader(*group)?;
            let descriptor = world.machines[leader].group(*group)?.descriptor();
            table::has(&descriptor, key).then_some((*group, leader))
        };
        if let Some((group, leader)) = world.groups().iter().find_map(leads)
            && let Some(group) = world.machines[leader].group(group)
        {
            let read = history.begin(key, Asked::Swap(None), world.now);
            let reply = futures_ready(group.get(table::read(key, false)));
            let item = reply
                .ok_or("the leader does not answer")?
                .map_err(|refusal| refusal.to_string())?;
            history.end(read, Told::Was(item.item.as_ref().map(table::value_of)), world.now + 1);
        }
    }
    // Where clocks lie only what went through the log counts.
    history.check(&refused, !clocks_lie)
}

/// What a future answers at once.
fn futures_ready<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}
