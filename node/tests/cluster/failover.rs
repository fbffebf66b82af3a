//! Leaders that are killed while somebody writes.

use std::time::Instant;

use super::trio::{NAMES, Outcome, Trio};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_leaders_are_killed() {
    let mut trio = Trio::start().await;
    let mut acknowledged = Vec::new();
    let mut number = 0;
    for _ in 0..3 {
        for _ in 0..50 {
            number += 1;
            let pk = format!("thing-{number}");
            if trio.put(&pk, "red").await == Outcome::Acknowledged {
                acknowledged.push(pk);
            }
        }
        let leader = trio.leader().await;
        trio.kill(leader);
        let killed = Instant::now();
        number += 1;
        let pk = format!("thing-{number}");
        if trio.put(&pk, "blue").await == Outcome::Acknowledged {
            acknowledged.push(pk);
        }
        println!(
            "{} ms from the kill of {leader} to the next write",
            killed.elapsed().as_millis()
        );
        // It comes back at another address, and everybody finds it by its own word.
        trio.restart(leader);
        let leads = trio.leader().await;
        trio.caught_up(leader, leads);
    }
    assert!(acknowledged.len() >= 150, "{}", acknowledged.len());
    for pk in &acknowledged {
        assert!(trio.colour(pk).await.is_some(), "{pk} is lost");
    }
    // All at once, as after a power failure: they find each other by what each has written down.
    let addresses = NAMES.map(|name| trio.nodes[name].address().to_owned());
    for name in NAMES {
        trio.kill(name);
    }
    for (name, address) in NAMES.into_iter().zip(&addresses) {
        trio.restart_at(name, address);
    }
    for pk in &acknowledged {
        assert!(trio.colour(pk).await.is_some(), "{pk} is lost");
    }
}
