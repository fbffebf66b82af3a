//! A replica that is too far behind for the log, while its partition is cut: whoever gets past the cut has the child, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::trio::{Asked, GROUP, Trio, writing};
use partita_partition::Partition;
use partita_partition::descriptor::GroupId;
use partita_partition::split::{SplitAt, SplitDone};
use partita_partition::storage::Storage as _;
use partita_partition::storage::memory::MemoryStorage;
use partita_partition::verify::verify;
use partita_replication::log::LogEngine as _;
use partita_replication::time::{ELECTION_NS, TICK_NS};
use partita_replication::{Group, SplitError, SplitRequest};
use uuid::Uuid;

const CHILD: GroupId = GroupId(100);
/// Letters are longer than that only if there are rows in them.
const ROWS_BYTES: usize = 2000;
/// What is in the head of a snapshot, and in no other letter.
const TABLE_NAME: &[u8] = b"table-1";
const ITEMS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn child(trio: &Trio, place: usize) -> Option<Arc<Group<MemoryStorage>>> {
    trio.stores[place].group(CHILD)
}

/// The group with this item that serves, wherever that is.
fn serving(trio: &Trio, id: &'static str) -> Arc<Group<MemoryStorage>> {
    let key = common::put(GROUP.0, id, "").key;
    let alive = (0..3).filter(|place| !trio.dead[*place]);
    let mut groups = alive.flat_map(|place| trio.stores[place].groups());
    let found = groups.find(|group| group.is_serving() && group.descriptor().contains(&key));
    found.unwrap_or_else(|| panic!("nobody serves {id}"))
}

fn write(trio: &mut Trio, id: &'static str) {
    let mut writing = writing(trio.group(0), id);
    while writing.answer().is_none() {
        assert!(trio.step());
    }
}

/// Asks the first store for a cut in the middle.
fn splitting(trio: &Trio) -> Asked<Result<SplitDone, SplitError>> {
    let request = SplitRequest {
        id: Uuid::from_u128(1),
        at: SplitAt::Middle,
        child: CHILD,
    };
    let group = trio.group(0);
    Asked::new(async move { group.split(request).await })
}

/// The first store has made a cut; the second one has its entry, and does not know that it is committed; the third one has come
/// past it by a snapshot.
fn cut() -> Trio {
    let mut trio = parted();
    for _ in 0..10 {
        trio.pass(TICK_NS);
    }
    assert_eq!(trio.group(2).descriptor(), trio.group(0).descriptor());
    trio
}

/// The same, and the third one, which was away, is back right now.
fn parted() -> Trio {
    let mut trio = Trio::start();
    ITEMS.iter().for_each(|id| write(&mut trio, id));
    trio.deaf = Some(2);
    trio.pass(2 * ELECTION_NS);
    let mut splitting = splitting(&trio);
    let end = trio.stores[1].survivor(GROUP).unwrap().last;
    while trio.stores[1].survivor(GROUP).unwrap().last == end {
        assert!(splitting.answer().is_none());
        assert!(trio.step());
    }
    trio.slow = Some(1);
    let done = loop {
        match splitting.answer() {
            Some(done) => break done.unwrap(),
            None => assert!(trio.step()),
        }
    };
    assert_eq!(done.child, CHILD);
    assert!(child(&trio, 0).is_some() && child(&trio, 1).is_none() && child(&trio, 2).is_none());
    trio.disks[0].0.flush().unwrap();
    trio.stores[0].cut_log();
    trio.deaf = None;
    trio
}

#[test]
fn a_snapshot_from_behind_a_cut_brings_the_child_that_does_not_live_yet() {
    let mut trio = cut();
    assert!(child(&trio, 2).is_some() && child(&trio, 1).is_none());
    // It is there to stay.
    trio.restart(2);
    assert!(child(&trio, 2).is_some());
}

#[test]
fn two_snapshots_whose_children_differ_are_not_of_the_same_entry() {
    let mut trio = parted();
    let cut_at = trio.group(0).stats().applied.index;
    // The first one has the child, and is lost. Then that lives, and its parent has nothing to do.
    head_coming(&mut trio);
    (trio.deaf, trio.slow) = (Some(2), None);
    trio.pass(24 * ELECTION_NS);
    let serves = |place: usize| child(&trio, place).is_some_and(|child| child.is_serving());
    assert!(serves(0) || serves(1));
    assert_eq!(trio.group(0).stats().applied.index, cut_at);
    trio.deaf = None;
    trio.pass(4 * ELECTION_NS);
    assert_eq!(trio.group(2).stats().applied, trio.group(0).stats().applied);
    assert_eq!(trio.group(2).stats().applied.index, cut_at + 1);
}

#[test]
fn the_child_outlives_the_only_store_that_has_applied_the_cut() {
    let mut trio = cut();
    // What was on its way from there never arrives.
    trio.dead[0] = true;
    (trio.slow, trio.deaf) = (None, Some(1));
    while trio.step() {}
    trio.deaf = None;
    trio.pass(12 * ELECTION_NS);
    for id in ITEMS {
        let group = serving(&trio, id);
        let mut reading = Asked::new(async move { group.get(common::get(GROUP.0, id)).await });
        let reply = loop {
            match reading.answer() {
                Some(reply) => break reply.unwrap(),
                None => assert!(trio.step(), "nobody answers"),
            }
        };
        assert!(reply.item.is_some(), "{id} is lost");
    }
    assert!(child(&trio, 1).is_some() && child(&trio, 2).is_some());
}

/// A store gets a snapshot of a partition that was cut long ago; its state is flushed behind so many writes, and fails at the next.
fn cut_short(write_number: u64) {
    let mut trio = Trio::start();
    ITEMS.iter().for_each(|id| write(&mut trio, id));
    let mut splitting = splitting(&trio);
    while splitting.answer().is_none() {
        assert!(trio.step());
    }
    trio.pass(4 * ELECTION_NS);
    assert!((0..3).all(|place| child(&trio, place).is_some_and(|child| child.stats().counters.items > 0)));
    // It is away, and what it lacks is not in the log any more.
    trio.deaf = Some(2);
    trio.pass(2 * ELECTION_NS);
    let stays = |id: &&&str| trio.group(0).descriptor().contains(&common::put(GROUP.0, id, "").key);
    let stays = *ITEMS.iter().find(stays).unwrap();
    let mut removing = {
        let group = trio.group(0);
        Asked::new(async move { group.write(common::delete(GROUP.0, stays)).await })
    };
    while removing.answer().is_none() {
        assert!(trio.step());
    }
    trio.disks[0].0.flush().unwrap();
    trio.stores[0].cut_log();
    trio.pass(TICK_NS);
    let state = Arc::clone(&trio.disks[2].0);
    state.flush_at(state.writes() + write_number);
    state.fail_at(state.writes() + write_number + 1);
    trio.may_die.store(true, Ordering::SeqCst);
    trio.deaf = None;
    trio.pass(4 * ELECTION_NS);
    trio.restart(2);
    trio.pass(4 * ELECTION_NS);
    assert_eq!(trio.group(2).stats().counters, trio.group(0).stats().counters);
    for group in trio.stores[2].groups() {
        let partition = Partition::open(Arc::clone(&state), group.descriptor().table, group.id());
        let found = verify(&partition.unwrap().unwrap().reader).unwrap();
        assert!(
            found.differences.is_empty(),
            "{:?}: {:?}",
            group.id(),
            found.differences
        );
    }
}

/// A third store that is too far behind for the log: so many items, each of about a hundred bytes.
fn left_behind(trio: &mut Trio, items: Range<u32>) {
    trio.deaf = Some(2);
    trio.pass(2 * ELECTION_NS);
    fill(trio, items);
    trio.deaf = None;
}

fn fill(trio: &mut Trio, items: Range<u32>) {
    items.for_each(|number| write(trio, format!("item-{number}").leak()));
    trio.disks[0].0.flush().unwrap();
    trio.stores[0].cut_log();
}

/// Steps until a letter with rows comes to the third store; the letter, before it arrives.
fn rows_coming(trio: &mut Trio) -> (Uuid, Bytes) {
    one_coming(trio, |frames| frames.len() > ROWS_BYTES)
}

/// The same with the head of a snapshot.
fn head_coming(trio: &mut Trio) -> (Uuid, Bytes) {
    one_coming(trio, |frames| {
        frames.windows(TABLE_NAME.len()).any(|part| part == TABLE_NAME)
    })
}

fn one_coming(trio: &mut Trio, is_it: impl Fn(&[u8]) -> bool) -> (Uuid, Bytes) {
    for _ in 0..100_000 {
        match trio.coming(2).filter(|(_, frames)| is_it(frames)) {
            Some(letter) => return letter,
            None if trio.step() => {}
            None => trio.tick(),
        }
    }
    panic!("no snapshot comes");
}

#[test]
fn a_snapshot_that_has_come_is_not_mixed_with_the_next_one() {
    let mut trio = Trio::start();
    left_behind(&mut trio, 0..80);
    // It is lost on its way, given up, and comes late after all, right before the next one, which takes longer.
    let (from, head) = head_coming(&mut trio);
    trio.take(2);
    let (_, rows) = rows_coming(&mut trio);
    trio.deaf = Some(2);
    trio.pass(24 * ELECTION_NS);
    fill(&mut trio, 80..400);
    trio.deaf = None;
    let (again, next) = head_coming(&mut trio);
    assert!(again == from && next != head);
    assert!(!trio.group(2).is_receiving());
    for late in [head, rows] {
        trio.stores[2].receive(from, &late).unwrap();
    }
    assert!(trio.group(2).is_receiving());
    trio.pass(4 * ELECTION_NS);
    assert_eq!(trio.group(2).stats().counters, trio.group(0).stats().counters);
    assert_eq!(trio.group(2).stats().applied, trio.group(0).stats().applied);
}

#[test]
fn a_snapshot_that_is_not_complete_ends_with_its_term() {
    let mut trio = Trio::with_snapshots_at(16 << 10);
    left_behind(&mut trio, 0..400);
    rows_coming(&mut trio);
    while !trio.group(2).is_receiving() {
        assert!(trio.step());
    }
    let before = trio.group(2).stats();
    // The next one to lead has all of the log: no other snapshot comes.
    trio.group(0).transfer_leadership(trio.replica(1)).unwrap();
    while trio.group(2).stats().term == before.term {
        assert!(trio.group(2).is_receiving() && trio.step());
    }
    assert_eq!(trio.group(2).stats().committed, before.committed);
    assert!(!trio.group(2).is_receiving());
    trio.pass(4 * ELECTION_NS);
    assert_eq!(trio.group(2).stats().applied, trio.group(1).stats().applied);
    let stored = trio.disks[2].1.groups().unwrap();
    assert!(stored.iter().all(|stored| !stored.staged));
}

#[test]
fn a_vote_asked_for_while_a_snapshot_takes_the_logs_place_is_durable_before_it_is_answered() {
    let mut trio = Trio::start();
    left_behind(&mut trio, 0..400);
    let (behind, term) = (trio.group(2).stats().committed, trio.group(2).stats().term);
    let mut turn = loop {
        rows_coming(&mut trio);
        let (from, rows) = trio.take(2).unwrap();
        // The rows come while something else is being synced.
        trio.slow = Some(2);
        let gathered = loop {
            trio.pass(TICK_NS);
            while let Some((leader, heartbeat)) = trio.take(2) {
                trio.stores[2].receive(leader, &heartbeat).unwrap();
            }
            if let Some(gathered) = trio.stores[2].gather() {
                break gathered;
            }
        };
        trio.stores[2].receive(from, &rows).unwrap();
        let synced = trio.stores[2].sync(gathered).unwrap();
        if trio.group(2).stats().committed > behind {
            break Some(synced);
        }
        assert!(trio.stores[2].apply(synced));
        trio.slow = None;
    };
    trio.busy = Some(2);
    trio.group(0).transfer_leadership(trio.replica(1)).unwrap();
    while trio.step() {}
    while let Some((from, frames)) = trio.take(2) {
        trio.stores[2].receive(from, &frames).unwrap();
    }
    while let Some(synced) = turn.take() {
        assert!(trio.stores[2].apply(synced));
        turn = trio.stores[2]
            .gather()
            .and_then(|gathered| trio.stores[2].sync(gathered));
    }
    let stored = trio.disks[2].1.groups().unwrap();
    let stored = stored.iter().find(|stored| stored.id == GROUP).unwrap();
    assert!(trio.group(2).stats().term > term);
    assert_eq!(stored.hard_state.term, trio.group(2).stats().term);
}

#[test]
fn who_has_a_snapshot_and_whose_answer_was_lost_is_asked_again() {
    let mut trio = Trio::start();
    left_behind(&mut trio, 0..80);
    // From here on nothing is committed without the third one.
    trio.dead[1] = true;
    let applied = trio.group(0).stats().applied;
    for _ in 0..100_000 {
        if trio.group(2).stats().applied == applied {
            break;
        }
        if !trio.step() {
            trio.tick();
        }
    }
    assert_eq!(trio.group(2).stats().applied, applied);
    while trio.take(0).is_some() {}
    let mut writing = writing(trio.group(0), "later");
    assert!(writing.answer().is_none());
    trio.pass(8 * ELECTION_NS);
    writing.answer().unwrap().unwrap();
    assert!(trio.group(0).is_serving(), "nobody else had to be elected");
}

#[test]
fn other_groups_go_on_while_a_snapshot_becomes_the_state() {
    let mut trio = Trio::start();
    let beside = trio.stores[2].bootstrap(common::descriptor(2)).unwrap();
    trio.deaf = Some(2);
    trio.pass(2 * ELECTION_NS);
    let large: &str = "x".repeat(20_000).leak();
    for number in 0..200 {
        let (group, id) = (trio.group(0), format!("item-{number}"));
        let mut writing = Asked::new(async move { common::write(&group, &id, large).await });
        while writing.answer().is_none() {
            assert!(trio.step());
        }
    }
    fill(&mut trio, 0..1);
    trio.deaf = None;
    let is_installing = |trio: &Trio| {
        let stored = trio.disks[2].1.groups().unwrap();
        stored.iter().any(|stored| stored.installing.is_some())
    };
    for _ in 0..10_000 {
        if !is_installing(&trio) && !trio.step() {
            trio.tick();
        }
    }
    let mut writing = writing(beside, "item");
    while writing.answer().is_none() {
        assert!(trio.step());
    }
    assert!(is_installing(&trio), "it has waited for all of the snapshot");
    trio.pass(2 * ELECTION_NS);
    assert!(!is_installing(&trio));
    assert_eq!(trio.group(2).stats().counters, trio.group(0).stats().counters);
}

#[test]
fn a_snapshot_leaves_at_its_pace() {
    let mut ticks = Vec::new();
    for bytes_per_second in [64 << 10, 16 << 10] {
        let mut trio = Trio::with_snapshots_at(bytes_per_second);
        left_behind(&mut trio, 0..800);
        let lags = |trio: &Trio| trio.group(2).stats().applied != trio.group(0).stats().applied;
        let needed = (0..1000).take_while(|_| {
            trio.pass(TICK_NS);
            lags(&trio)
        });
        ticks.push(needed.count());
    }
    // A quarter of the pace takes four times as long, but for what there is besides.
    assert!(ticks[0] > 4 && ticks[1] > 3 * ticks[0], "{ticks:?}");
}

#[test]
fn an_installation_that_is_cut_short_leaves_the_children_their_rows() {
    (1..6).for_each(cut_short);
}
