//! Groups on a store in memory: group commit, order of answers, death, space, cutting the log.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Machine, block_on, delete, descriptor, put, read, schema, write};
use partita_model::request::Refusal;
use partita_partition::command::Command;
use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage as _;
use partita_replication::log::memory::Fault;
use partita_replication::{Group, StoreOptions, Volume};

/// Starts a write and polls it once: it is evaluated and waits for its entry.
fn started<S: partita_partition::storage::Storage>(
    group: &Arc<Group<S>>,
    request: partita_model::request::WriteRequest,
) -> tokio::task::JoinHandle<Result<partita_model::request::WriteReply, Refusal>> {
    let group = Arc::clone(group);
    tokio::spawn(async move { group.write(request).await })
}

#[test]
fn writes_of_all_groups_share_a_sync() {
    let machine = Machine::default();
    let store = machine.start();
    let groups: Vec<_> = (1..=4)
        .map(|table| store.bootstrap(descriptor(table)).unwrap())
        .collect();
    let before = machine.log.writes();
    block_on(async {
        let stall = machine.log.stall();
        let mut writes = Vec::new();
        for number in 0..400 {
            let group = &groups[number % groups.len()];
            writes.push(started(group, put(group.id().0, &format!("item-{number}"), "x")));
        }
        // All are evaluated before anything can be written.
        while groups.iter().map(|group| group.stats().in_flight).sum::<u64>() < 400 {
            tokio::task::yield_now().await;
        }
        drop(stall);
        for write in writes {
            write.await.unwrap().unwrap();
        }
    });
    let syncs = machine.log.writes() - before;
    assert!(syncs <= 3, "400 writes took {syncs} syncs");
    let stats = store.stats();
    assert_eq!((stats.log_effects, stats.groups), (400, 4));
    assert!(stats.log_sync.count >= syncs && stats.log_held_bytes > 0);
    store.shutdown();
}

#[test]
fn followers_hear_of_groups_and_their_schemas() {
    let machine = Machine::default();
    let store = machine.start();
    let mut changes = store.changes();
    let mut heard = || {
        let heard = changes.has_changed().unwrap();
        changes.mark_unchanged();
        heard
    };
    assert!(!heard());
    let group = store.bootstrap(descriptor(1)).unwrap();
    assert!(heard());
    store.bootstrap(descriptor(1)).unwrap();
    block_on(write(&group, "a", "x")).unwrap();
    assert!(!heard());
    let mut newer = schema(1);
    newer.version.0 += 1;
    let newer = Arc::new(newer);
    for news in [true, false] {
        block_on(group.command(Command::SetSchema(Arc::clone(&newer)))).unwrap();
        assert_eq!(heard(), news);
    }
    store.destroy(group.id()).unwrap();
    assert!(heard());
    store.destroy(group.id()).unwrap();
    assert!(!heard());
    store.shutdown();
}

#[test]
fn an_answer_without_an_effect_waits_for_what_it_saw() {
    let machine = Machine::default();
    let store = machine.start();
    let group = store.bootstrap(descriptor(1)).unwrap();
    block_on(async {
        // With nothing in flight there is nothing to wait for, and nothing to write.
        let before = machine.log.writes();
        group.write(delete(1, "none")).await.unwrap();
        assert_eq!(machine.log.writes(), before);

        write(&group, "item", "x").await.unwrap();
        let stall = machine.log.stall();
        let first = started(&group, delete(1, "item"));
        let second = started(&group, delete(1, "item"));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!first.is_finished() && !second.is_finished());
        // The item is still there for readers: the delete is not applied.
        assert_eq!(read(&group, "item").await.unwrap(), "x");
        drop(stall);
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(read(&group, "item").await, None);
    });
    store.shutdown();
}

#[test]
fn a_failed_append_ends_the_process_and_answers_nobody_with_success() {
    let machine = Machine::default();
    let store = machine.start();
    let group = store.bootstrap(descriptor(1)).unwrap();
    block_on(async {
        write(&group, "item", "x").await.unwrap();
        machine.log.fail_at(machine.log.writes() + 1, Fault::Lost);
        assert_eq!(write(&group, "item", "y").await, Err(Refusal::UnknownFate));
        assert_eq!(machine.deaths.all(), ["log: injected: nothing was kept"]);
        assert_eq!(write(&group, "item", "z").await, Err(Refusal::Stopping));
    });
    assert_eq!(store.bootstrap(descriptor(2)).err(), Some(Refusal::Stopping));
}

#[test]
fn below_the_reserve_writes_are_refused_and_reads_go_on() {
    let machine = Machine::default();
    let free = Arc::new(AtomicU64::new(1 << 30));
    let probe = Arc::clone(&free);
    let store = machine
        .start_with(StoreOptions {
            reserve_bytes: 1 << 20,
            volume: Some(Arc::new(move || {
                Some(Volume {
                    free_bytes: probe.load(Ordering::SeqCst),
                    total_bytes: 1 << 40,
                })
            })),
            ..machine.deaths.options()
        })
        .unwrap();
    let group = store.bootstrap(descriptor(1)).unwrap();
    block_on(async {
        write(&group, "item", "x").await.unwrap();
        free.store(1000, Ordering::SeqCst);
        store.look_at_space();
        assert_eq!(write(&group, "item", "y").await, Err(Refusal::OutOfSpace));
        assert_eq!(store.bootstrap(descriptor(2)).err(), Some(Refusal::OutOfSpace));
        assert_eq!(read(&group, "item").await.unwrap(), "x");
        assert!(store.stats().out_of_space);
        free.store(1 << 30, Ordering::SeqCst);
        // Maintenance finds out by itself.
        while store.stats().out_of_space {
            std::thread::yield_now();
        }
        write(&group, "item", "z").await.unwrap();
    });
    assert!(machine.deaths.all().is_empty());
    store.shutdown();
}

#[test]
fn the_log_is_never_cut_behind_what_is_flushed() {
    let machine = Machine::default();
    let store = machine.start();
    let group = store.bootstrap(descriptor(1)).unwrap();
    block_on(async {
        let id = GroupId(1);
        for number in 0..10 {
            write(&group, &format!("item-{number}"), "x").await.unwrap();
        }
        store.cut_log();
        write(&group, "a", "x").await.unwrap();
        assert_eq!(machine.log.bounds(id).unwrap().0, 1, "nothing is flushed yet");
        let flushed = group.stats().applied.index;
        machine.state.flush().unwrap();
        write(&group, "b", "x").await.unwrap();
        store.cut_log();
        write(&group, "c", "x").await.unwrap();
        assert_eq!(machine.log.bounds(id).unwrap().0, flushed + 1);
    });
    drop(group);
    machine.crash(store);
    let store = machine.start();
    let group = store.group(GroupId(1)).unwrap();
    block_on(async {
        for id in ["item-0", "item-9", "a", "b", "c"] {
            assert_eq!(read(&group, id).await.unwrap(), "x");
        }
    });
    // A clean stop leaves nothing to apply.
    store.shutdown();
    assert_eq!(machine.log.bounds(GroupId(1)), None);
}

#[test]
fn a_log_that_holds_too_much_has_the_state_flushed() {
    let machine = Machine::default();
    let options = StoreOptions {
        log_bytes_max: 10_000,
        ..machine.deaths.options()
    };
    let store = machine.start_with(options).unwrap();
    let group = store.bootstrap(descriptor(1)).unwrap();
    block_on(async {
        for number in 0..30 {
            write(&group, &format!("item-{number}"), &"x".repeat(1000))
                .await
                .unwrap();
        }
        store.cut_log();
        write(&group, "last", "x").await.unwrap();
    });
    let (first, last) = machine.log.bounds(GroupId(1)).unwrap();
    assert_eq!(first, last);
    store.shutdown();
}

#[test]
fn a_destroyed_group_stays_destroyed_wherever_it_is_interrupted() {
    for at in 1..=3 {
        let machine = Machine::default();
        let store = machine.start();
        let group = store.bootstrap(descriptor(1)).unwrap();
        let other = store.bootstrap(descriptor(2)).unwrap();
        block_on(async {
            write(&group, "item", "x").await.unwrap();
            write(&other, "item", "x").await.unwrap();
        });
        machine.state.flush().unwrap();
        machine.log.fail_at(machine.log.writes() + at, Fault::Kept);
        let destroyed = store.destroy(GroupId(1));
        assert_eq!(destroyed.is_ok(), at == 3);
        block_on(async {
            let refusal = write(&group, "item", "y").await.unwrap_err();
            assert!(matches!(refusal, Refusal::WrongRange | Refusal::Stopping));
        });
        drop((group, other));
        machine.crash(store);

        let store = machine.start();
        assert!(store.group(GroupId(1)).is_none());
        assert_eq!(store.bootstrap(descriptor(1)).err(), Some(Refusal::WrongRange));
        store.destroy(GroupId(1)).unwrap();
        let other = store.group(GroupId(2)).unwrap();
        assert_eq!(block_on(read(&other, "item")).unwrap(), "x");
        // Its rows are gone too: another group under the same table id finds none.
        let mut again = descriptor(1);
        again.group = GroupId(3);
        let group = store.bootstrap(again).unwrap();
        let get = partita_model::request::GetRequest {
            table: partita_model::schema::TableId(1),
            schema_version: partita_model::schema::SchemaVersion(1),
            key: put(1, "item", "").key,
            consistent: true,
            projection: None,
        };
        assert_eq!(block_on(group.get(get)).unwrap().item, None);
        store.shutdown();
    }
}

#[test]
fn a_store_that_stops_refuses_writes_and_finishes_those_in_flight() {
    let machine = Machine::default();
    let store = machine.start();
    let group = store.bootstrap(descriptor(1)).unwrap();
    block_on(async {
        let writes: Vec<_> = (0..50)
            .map(|n| started(&group, put(1, &format!("item-{n}"), "x")))
            .collect();
        tokio::task::yield_now().await;
        store.shutdown();
        for write in writes {
            write.await.unwrap().unwrap();
        }
        assert_eq!(write(&group, "late", "x").await, Err(Refusal::Stopping));
    });
    drop(group);
    drop(store);
    // Nothing is left to be applied: the state was flushed.
    machine.state.crash();
    let store = machine.start();
    let group = store.group(GroupId(1)).unwrap();
    assert_eq!(block_on(read(&group, "item-49")).unwrap(), "x");
}
