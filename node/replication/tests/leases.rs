//! What followers promise a leader whom they hear holds, whenever their tickers run.
#![allow(clippy::unwrap_used)]

mod common;

use common::trio::{Trio, writing};
use partita_replication::MemberChange;
use partita_replication::time::{LEASE_NS, TICK_NS};

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

#[test]
fn who_was_alone_when_its_state_was_flushed_votes_for_nobody_right_after_a_restart() {
    // So many that somebody asks for votes while the lease lasts: the timeouts are drawn.
    for late in 10..=30 {
        let mut trio = Trio::start();
        trio.begin_alone();
        for place in [1, 2] {
            let replica = trio.add(place);
            trio.change(MemberChange::Promote { replica });
        }
        let leads = trio.alone(1).stats().replica;
        trio.alone(0).transfer_leadership(leads).unwrap();
        while trio.step() {}
        assert!(trio.alone(1).is_serving());
        // The third one hears nobody, and wants to lead; the first one has promised the second one not to vote.
        trio.deaf = Some(2);
        trio.pass(late * TICK_NS);
        assert!(trio.alone(1).is_serving());
        // The second one says nothing more, and the first one forgets.
        trio.busy = Some(1);
        trio.restart(0);
        trio.deaf = None;
        for _ in 0..LEASE_NS / TICK_NS {
            trio.pass(TICK_NS);
            assert!(!trio.alone(2).stats().leader, "{late} ticks late");
        }
    }
}
