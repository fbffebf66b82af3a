//! What those see who ask between two leaders.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::trio::{Asked, GROUP, Trio, writing};
use common::{put, read, write};
use partita_model::request::Refusal;
use partita_replication::MemberChange;
use partita_replication::time::{ELECTION_NS, HOLD_NS, TICK_NS};

#[test]
fn nobody_is_sent_away_before_it_is_known_where_to_and_nobody_in_vain() {
    let mut trio = Trio::start();
    let (old, new) = (trio.group(0), trio.group(1));
    // In flight when the hand-over begins, and another one that comes right behind it.
    let mut before = writing(Arc::clone(&old), "before");
    assert!(before.answer().is_none());
    old.transfer_leadership(trio.replica(1)).unwrap();
    let mut meanwhile = writing(Arc::clone(&old), "meanwhile");
    // One that comes to the new leader as soon as it is one, and one more with each step until it serves.
    let mut early: Vec<Asked<Result<(), Refusal>>> = Vec::new();
    let (mut written, mut sent_away) = (false, false);
    loop {
        let more = trio.step();
        if !written && let Some(answer) = before.answer() {
            answer.unwrap();
            written = true;
        }
        if !sent_away && let Some(answer) = meanwhile.answer() {
            assert_eq!(answer.unwrap_err(), Refusal::NotLeader);
            assert_eq!(
                old.leadership().borrow().leader,
                trio.replica(1),
                "sent away, and nobody knows where to"
            );
            sent_away = true;
        }
        if new.stats().leader && !new.is_serving() {
            let (writer, reader) = (Arc::clone(&new), Arc::clone(&new));
            early.push(Asked::new(async move { write(&writer, "early", "x").await.map(drop) }));
            early.push(Asked::new(async move {
                assert_eq!(read(&reader, "before").await.as_deref(), Some("x"));
                Ok(())
            }));
            assert!(
                early.iter_mut().all(|one| one.answer().is_none()),
                "the new leader does not serve yet"
            );
        }
        if !more {
            break;
        }
    }
    assert!(
        written && sent_away && !early.is_empty(),
        "{written} {sent_away} {}",
        early.len()
    );
    assert!(new.is_serving());
    let mut answers: Vec<_> = early.iter_mut().map(Asked::answer).collect();
    while trio.step() {}
    for (answer, asked) in answers.iter_mut().zip(&mut early) {
        let answer = answer.take().or_else(|| asked.answer());
        answer
            .expect("the new leader answers what it held")
            .expect("and refuses none of it");
    }
}

#[test]
fn a_read_that_the_hand_over_overtakes_is_sent_to_the_new_leader() {
    let mut trio = Trio::start();
    let old = trio.group(0);
    old.transfer_leadership(trio.replica(2)).unwrap();
    // The lease is given up with the first step, so this one asks the voters, and is overtaken by the election.
    trio.step();
    let reader = Arc::clone(&old);
    let request = put(GROUP.0, "thing", "x");
    let mut reading = Asked::new(async move {
        let get = partita_model::request::GetRequest {
            table: request.table,
            schema_version: request.schema_version,
            key: request.key,
            consistent: true,
            projection: None,
        };
        reader.get(get).await
    });
    loop {
        match reading.answer() {
            Some(Err(refusal)) => {
                assert_eq!(refusal, Refusal::NotLeader);
                assert_eq!(old.leadership().borrow().leader, trio.replica(2));
                break;
            }
            // It was quick enough.
            Some(Ok(reply)) => break assert!(reply.item.is_none()),
            None => assert!(trio.step(), "nothing goes on, and the read is not answered"),
        }
    }
}

#[test]
fn a_hand_over_to_nobody_holds_for_a_moment_only() {
    let mut trio = Trio::start();
    let group = trio.group(0);
    trio.deaf = Some(1);
    group.transfer_leadership(trio.replica(1)).unwrap();
    let mut held = writing(Arc::clone(&group), "held");
    while trio.step() {}
    assert!(held.answer().is_none());
    trio.pass(HOLD_NS - TICK_NS);
    assert!(held.answer().is_none());
    trio.pass(TICK_NS);
    assert_eq!(held.answer().unwrap().unwrap_err(), Refusal::NotLeader);
    assert_eq!(
        writing(Arc::clone(&group), "more").answer().unwrap().unwrap_err(),
        Refusal::NotLeader
    );
    // It has come to nothing: the same one goes on.
    trio.pass(2 * ELECTION_NS);
    let mut after = writing(Arc::clone(&group), "after");
    assert!(after.answer().is_none());
    while trio.step() {}
    after.answer().unwrap().unwrap();
}

#[test]
fn a_hand_over_that_is_called_off_releases_those_who_waited() {
    let mut trio = Trio::start();
    let group = trio.group(0);
    let mut before = writing(Arc::clone(&group), "before");
    assert!(before.answer().is_none());
    // It waits for what is in flight, so that it can be called off still.
    group.transfer_leadership(trio.replica(1)).unwrap();
    let mut held = writing(Arc::clone(&group), "held");
    assert!(held.answer().is_none());
    group.transfer_leadership(trio.replica(0)).unwrap();
    assert!(held.answer().is_none());
    while trio.step() {}
    before.answer().unwrap().unwrap();
    held.answer().unwrap().unwrap();
    assert!(group.is_serving());
}

#[test]
fn an_idle_group_leaves_a_joint_configuration_once_a_hand_over_has_failed() {
    let mut trio = Trio::start();
    trio.begin_alone();
    let remove = trio.add(1);
    trio.change(MemberChange::Promote { replica: remove });
    let add = trio.add(2);
    let mut replacing = trio.changing(MemberChange::Replace { add, remove });
    assert!(replacing.answer().is_none());
    // It waits for what is in flight: the other one is asked when the configuration is joint, and does not hear of it.
    let group = trio.alone(0);
    group.transfer_leadership(remove).unwrap();
    while !group.members().is_joint() {
        assert!(trio.step());
    }
    trio.deaf = Some(1);
    while trio.step() {}
    trio.deaf = None;
    assert!(group.members().is_joint());
    trio.pass(4 * ELECTION_NS);
    assert!(group.is_serving(), "nobody else was elected");
    assert!(!group.members().is_joint());
    assert!(replacing.answer().is_some());
}
