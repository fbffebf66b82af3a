//! A group in which nothing goes on rests, with all its replicas, and stays with its leader.
#![allow(clippy::unwrap_used)]

mod common;

use common::trio::{Trio, writing};
use partita_replication::time::{ELECTION_NS, TICK_NS};

/// Longer than it takes a group to come to rest.
const IDLE_NS: u64 = 4 * ELECTION_NS;

fn write(trio: &mut Trio) {
    let mut writing = writing(trio.group(0), "item");
    loop {
        match writing.answer() {
            Some(written) => return drop(written.unwrap()),
            None => assert!(trio.step(), "nobody answers"),
        }
    }
}

fn rest(trio: &Trio) -> [bool; 3] {
    [0, 1, 2].map(|place| trio.group(place).stats().resting)
}

#[test]
fn all_replicas_rest_wherever_the_leader_stands_between_two_heartbeats() {
    let mut trio = Trio::start();
    let term = trio.group(0).stats().term;
    for ticks in 1..6 {
        write(&mut trio);
        trio.pass(ticks * TICK_NS);
        write(&mut trio);
        trio.pass(IDLE_NS);
        assert_eq!(rest(&trio), [true; 3], "after {ticks} ticks");
        trio.pass(6 * ELECTION_NS);
        assert_eq!(rest(&trio), [true; 3], "after {ticks} ticks");
        let stats = trio.group(0).stats();
        assert!(stats.serving == term && stats.term == term, "{stats:?}");
    }
}

#[test]
fn nobody_rests_with_a_leader_whose_disk_hangs() {
    let mut trio = Trio::start();
    write(&mut trio);
    trio.pass(IDLE_NS);
    assert_eq!(rest(&trio), [true; 3]);
    trio.busy = Some(0);
    let mut hangs = writing(trio.group(0), "hangs");
    assert!(hangs.answer().is_none());
    trio.pass(6 * ELECTION_NS);
    let serving = [1, 2].map(|place| trio.group(place).is_serving());
    assert!(serving[0] != serving[1], "{serving:?}");
    // Its disk is back, and so is the store: as a follower.
    trio.busy = None;
    trio.pass(6 * ELECTION_NS);
    assert!(!trio.group(0).is_serving());
    assert_eq!(trio.group(0).stats().applied, trio.group(1).stats().applied);
    assert_eq!(rest(&trio), [true; 3]);
}

#[test]
fn who_hears_an_old_heartbeat_behind_the_word_that_the_leader_rests_rests_again() {
    let mut trio = Trio::start();
    write(&mut trio);
    let term = trio.group(0).stats().term;
    // Nothing reaches the second one for a while in which heartbeats are sent, and then that the leader rests.
    trio.pass(16 * TICK_NS);
    trio.slow = Some(1);
    while !trio.group(0).stats().resting {
        trio.pass(TICK_NS);
    }
    assert_eq!(rest(&trio), [true, false, true]);
    // All of that comes now, the last first.
    (trio.slow, trio.backwards) = (None, true);
    while trio.step() {}
    assert_eq!(rest(&trio), [true; 3]);
    trio.pass(6 * ELECTION_NS);
    assert_eq!(rest(&trio), [true; 3]);
    assert_eq!(trio.group(1).stats().term, term);
}
