//! What followers promise a leader whom they hear holds, whenever their tickers run.
#![allow(clippy::unwrap_used)]

mod common;

use common::trio::{Trio, writing};
use partita_replication::time::TICK_NS;

/// A write, so that nobody rests.
fn write(trio: &mut Trio) {
    let mut writing = writing(trio.group(0), "item");
    let written = loop {
        match writing.answer() {
            Some(written) => break written,
            None => assert!(trio.step(), "nobody answers"),
        }
    };
    written.unwrap();
    while trio.step() {}
}

#[test]
fn ticks_that_are_counted_late_elect_nobody_while_the_leader_has_its_lease() {
    // So many that one stands for election and another one would vote: the timeouts are drawn.
    for late in 10..=20 {
        let mut trio = Trio::start();
        trio.pass(4 * TICK_NS);
        // Only the leader's ticker runs; the others hear it all the while.
        for _ in 0..late {
            trio.wait();
            trio.stores[0].tick();
            write(&mut trio);
        }
        // Then theirs do, with all that has passed, and what they say does not reach the leader.
        trio.deaf = Some(0);
        for place in [1, 2] {
            trio.stores[place].tick();
        }
        while trio.step() {}
        assert!(trio.group(0).is_serving(), "it reads under its lease");
        let others = [1, 2].map(|place| trio.group(place).stats().leader);
        assert_eq!(others, [false; 2], "{late} ticks late");
    }
}
