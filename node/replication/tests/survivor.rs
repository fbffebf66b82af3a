//! What is left of a group when most of it is gone for good, and what it becomes.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::trio::{Asked, GROUP, Trio, writing};
use common::{descriptor, read};
use partita_model::request::Refusal;
use partita_replication::time::{ELECTION_NS, TICK_NS};
use partita_replication::{MemberChange, SurvivorError};
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u128(0xABC);

/// The value of an item at a store, by a strong read.
fn value(trio: &mut Trio, place: usize, id: &'static str) -> Option<String> {
    let group = trio.group(place);
    let mut reading = Asked::new(async move { read(&group, id).await });
    loop {
        match reading.answer() {
            Some(value) => return value,
            None => assert!(trio.step(), "nobody answers"),
        }
    }
}

fn written(trio: &mut Trio, place: usize, id: &'static str) {
    let mut writing = writing(trio.group(place), id);
    assert!(writing.answer().is_none());
    while trio.step() {}
    writing.answer().unwrap().unwrap();
}

/// Two of three die; one entry is in the log of the last one only, and nobody knows that it is committed.
fn lost() -> Trio {
    let mut trio = Trio::start();
    written(&mut trio, 0, "before");
    let mut last = writing(trio.group(0), "last");
    assert!(last.answer().is_none());
    // It leaves the leader, and is in the follower's log; what the follower says of it is not heard any more.
    let end = trio.stores[2].survivor(GROUP).unwrap().last;
    while trio.stores[2].survivor(GROUP).unwrap().last == end {
        assert!(trio.step());
    }
    trio.dead = [true, true, false];
    trio.pass(4 * ELECTION_NS);
    trio
}

#[test]
fn the_last_one_goes_on_with_all_that_it_has() {
    let mut trio = lost();
    let refused = writing(trio.group(2), "refused").answer().unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::NotLeader);
    let found = trio.stores[2].survivor(GROUP).unwrap();
    assert!(found.last.index > found.applied && found.written_ms > 0, "{found:?}");
    assert_eq!(found.voters.iter().filter(|voter| voter.1).count(), 1);

    let alone = trio.stores[2].go_on_alone(GROUP, ORDER, found.epoch).unwrap();
    while trio.step() {}
    assert!(alone.replica > 3 && alone.epoch > found.epoch, "{alone:?}");
    assert!(trio.group(2).is_serving());
    for id in ["before", "last"] {
        assert_eq!(value(&mut trio, 2, id).as_deref(), Some("x"), "{id}");
    }
    written(&mut trio, 2, "after");
    // Asked again, it was done; and any other such order finds nothing lost.
    let again = trio.stores[2].go_on_alone(GROUP, ORDER, found.epoch).unwrap();
    assert_eq!((again.replica, again.epoch), (alone.replica, alone.epoch));
    assert!(matches!(
        trio.stores[2].go_on_alone(GROUP, Uuid::from_u128(1), again.epoch),
        Err(SurvivorError::QuorumThere {
            alive: 1,
            voters: 1,
            quorum: 1
        })
    ));
    // It stays so.
    trio.restart(2);
    while trio.step() {}
    for id in ["before", "last", "after"] {
        assert_eq!(value(&mut trio, 2, id).as_deref(), Some("x"), "{id}");
    }
    assert_eq!(trio.replica(2), alone.replica);
}

#[test]
fn who_was_lost_is_a_stranger_and_may_come_again_as_somebody_new() {
    let mut trio = lost();
    let epoch = trio.stores[2].survivor(GROUP).unwrap().epoch;
    trio.stores[2].go_on_alone(GROUP, ORDER, epoch).unwrap();
    let term = trio.group(2).stats().term;
    // One of them comes back with what it had: it hears nothing of the group, and says nothing that counts.
    trio.restart(0);
    trio.pass(6 * ELECTION_NS);
    assert!(!trio.group(0).is_serving() && trio.group(2).is_serving());
    assert_eq!(trio.group(2).stats().term, term, "a stranger has disturbed the group");
    // What it has goes, and it is a new member.
    let store = trio.stores[0].uuid();
    let group = trio.group(2);
    let mut adding = Asked::new(async move {
        group
            .change_members(Uuid::from_u128(2), MemberChange::AddLearner { store })
            .await
    });
    let added = loop {
        match adding.answer() {
            Some(added) => break added.unwrap().replica,
            None => assert!(trio.step()),
        }
    };
    assert_eq!(
        trio.stores[0].admit(descriptor(GROUP.0), added).err(),
        Some(Refusal::WrongRange)
    );
    trio.stores[0].destroy(GROUP).unwrap();
    trio.stores[0].admit(descriptor(GROUP.0), added).unwrap();
    trio.pass(4 * ELECTION_NS);
    let group = trio.group(2);
    let promote = MemberChange::Promote { replica: added };
    let mut promoting = Asked::new(async move { group.change_members(Uuid::from_u128(3), promote).await });
    while promoting.answer().is_none() {
        assert!(trio.step());
    }
    written(&mut trio, 2, "together");
    assert_eq!(trio.group(0).stats().applied, trio.group(2).stats().applied);
}

fn leads(trio: &Trio) -> [bool; 3] {
    [0, 1, 2].map(|place| trio.group(place).stats().leader)
}

#[test]
fn those_who_were_lost_do_not_elect_themselves_when_they_return_together() {
    let mut trio = lost();
    let epoch = trio.stores[2].survivor(GROUP).unwrap().epoch;
    trio.stores[2].go_on_alone(GROUP, ORDER, epoch).unwrap();
    while trio.step() {}
    let term = trio.group(2).stats().term;
    trio.restart(0);
    trio.restart(1);
    trio.pass(10 * ELECTION_NS);
    assert_eq!(leads(&trio), [false, false, true]);
    assert_eq!(trio.group(2).stats().term, term);
    let refused = writing(trio.group(0), "refused").answer().unwrap();
    assert_eq!(refused.unwrap_err(), Refusal::NotLeader);
    written(&mut trio, 2, "after");
    // Again, and whoever of them is first.
    for place in [1, 0, 1] {
        trio.restart(place);
        trio.pass(4 * ELECTION_NS);
        assert_eq!(leads(&trio), [false, false, true]);
    }
}

#[test]
fn those_who_have_elected_themselves_out_of_reach_end_when_they_hear_of_the_survivor() {
    let mut trio = lost();
    let epoch = trio.stores[2].survivor(GROUP).unwrap().epoch;
    trio.stores[2].go_on_alone(GROUP, ORDER, epoch).unwrap();
    while trio.step() {}
    trio.dead[2] = true;
    trio.restart(0);
    trio.restart(1);
    trio.pass(10 * ELECTION_NS);
    assert!(leads(&trio)[0] || leads(&trio)[1]);
    trio.dead[2] = false;
    trio.pass(2 * ELECTION_NS);
    assert_eq!(leads(&trio), [false, false, true]);
    written(&mut trio, 2, "after");
}

#[test]
fn what_is_not_lost_is_left_alone() {
    let mut trio = Trio::start();
    let epoch = trio.stores[1].survivor(GROUP).unwrap().epoch;
    trio.pass(4 * TICK_NS);
    for place in [0, 1] {
        let refused = trio.stores[place].go_on_alone(GROUP, ORDER, epoch).unwrap_err();
        assert_eq!(
            refused,
            SurvivorError::QuorumThere {
                alive: 3,
                voters: 3,
                quorum: 2
            }
        );
    }
    // The leader has died a moment ago: the others are about to elect one of themselves.
    trio.dead[0] = true;
    let leads = loop {
        trio.pass(ELECTION_NS);
        if let Some(leads) = [1, 2].into_iter().find(|place| trio.group(*place).is_serving()) {
            break leads;
        }
    };
    // A store that was heard of within a second counts as there.
    trio.pass(2 * ELECTION_NS);
    for place in [1, 2] {
        let refused = trio.stores[place].go_on_alone(GROUP, ORDER, epoch).unwrap_err();
        assert_eq!(
            refused,
            SurvivorError::QuorumThere {
                alive: 2,
                voters: 3,
                quorum: 2
            }
        );
    }
    written(&mut trio, leads, "thing");
    // Alone, but somebody has looked at other members than there are.
    trio.dead[leads] = true;
    trio.pass(4 * ELECTION_NS);
    let last = 3 - leads;
    assert_eq!(
        trio.stores[last].go_on_alone(GROUP, ORDER, epoch + 1),
        Err(SurvivorError::StaleEpoch {
            expected: epoch + 1,
            epoch
        })
    );
    assert_eq!(value_after(&mut trio, last, epoch).as_deref(), Some("x"));
}

fn value_after(trio: &mut Trio, place: usize, epoch: u64) -> Option<String> {
    trio.stores[place].go_on_alone(GROUP, ORDER, epoch).unwrap();
    while trio.step() {}
    value(trio, place, "thing")
}

#[test]
fn the_order_is_finished_when_it_was_cut_short() {
    // The disk dies with each of the writes that it takes, in turn.
    for write in 1..=2 {
        let mut trio = lost();
        let found = trio.stores[2].survivor(GROUP).unwrap();
        let log = Arc::clone(&trio.disks[2].1);
        log.fail_at(log.writes() + write, partita_replication::log::memory::Fault::Lost);
        let store = Arc::clone(&trio.stores[2]);
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            store.go_on_alone(GROUP, ORDER, found.epoch)
        }));
        drop(store);
        assert!(!matches!(died, Ok(Ok(_))) || write > 1, "{died:?}");
        trio.restart(2);
        while trio.step() {}
        let epoch = trio.stores[2].survivor(GROUP).unwrap().epoch;
        trio.stores[2].go_on_alone(GROUP, ORDER, epoch).unwrap();
        while trio.step() {}
        assert!(trio.group(2).is_serving());
        for id in ["before", "last"] {
            assert_eq!(value(&mut trio, 2, id).as_deref(), Some("x"), "write {write}: {id}");
        }
    }
}
