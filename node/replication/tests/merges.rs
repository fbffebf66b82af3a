//! Merges on a store in memory: each step, what is refused, and a disk that dies anywhere on the way.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::trio::Asked;
use common::{Machine, block_on, descriptor, get, put};
use partita_model::request::Refusal;
use partita_partition::Partition;
use partita_partition::descriptor::{GroupId, PartitionDescriptor};
use partita_partition::merge::{MergeDone, MergeFault, MergeOutcome};
use partita_partition::split::SplitAt;
use partita_partition::storage::Storage as _;
use partita_partition::storage::memory::MemoryStorage;
use partita_partition::verify::verify;
use partita_replication::log::memory::Fault;
use partita_replication::{
    Group, MemberChange, MembershipError, MergeError, MergeRequest, SplitRequest, Store, StoreOptions,
};
use uuid::Uuid;

type Stored = Store<MemoryStorage>;

const TABLE: u64 = 1;
const PARENT: GroupId = GroupId(TABLE);
const CHILD: GroupId = GroupId(100);
const ITEMS: u64 = 12;

fn request(id: u128) -> MergeRequest {
    MergeRequest {
        id: Uuid::from_u128(id),
        absorber: PARENT,
        source: CHILD,
    }
}

/// The group that has an item.
fn group_of(store: &Stored, id: &str) -> Arc<Group<MemoryStorage>> {
    let key = put(TABLE, id, "").key;
    let has = |group: &Arc<Group<MemoryStorage>>| {
        let descriptor = group.descriptor();
        descriptor.table.0 == TABLE && descriptor.contains(&key)
    };
    store.groups().into_iter().find(has).unwrap()
}

async fn write(store: &Stored, id: &str, value: &str) -> Result<(), Refusal> {
    group_of(store, id).write(put(TABLE, id, value)).await.map(drop)
}

async fn read(store: &Stored, id: &str) -> Option<String> {
    let item = group_of(store, id).get(get(TABLE, id)).await.unwrap().item?;
    let value = item.as_ref().get("value").unwrap();
    Some(value.as_str().unwrap().to_owned())
}

fn items() -> impl Iterator<Item = String> {
    (0..ITEMS).map(|number| format!("item-{number}"))
}

async fn split(store: &Stored) {
    let request = SplitRequest {
        id: Uuid::from_u128(1),
        at: SplitAt::Middle,
        child: CHILD,
    };
    store.split(PARENT, request).await.unwrap();
    leads(store, CHILD).await;
}

/// A split's child is elected while the split is answered.
async fn leads(store: &Stored, group: GroupId) {
    let mut leadership = store.group(group).unwrap().leadership();
    leadership.wait_for(|now| now.serving > 0).await.unwrap();
}

/// A table in two partitions.
fn halved(machine: &Machine) -> Arc<Stored> {
    let store = machine.start();
    store.bootstrap(descriptor(TABLE)).unwrap();
    block_on(async {
        for id in items() {
            write(&store, &id, "first").await.unwrap();
        }
        split(&store).await;
    });
    store
}

/// A partition of another table, under the number of the one that was absorbed.
fn elsewhere() -> PartitionDescriptor {
    PartitionDescriptor {
        group: CHILD,
        table: partita_model::schema::TableId(55),
        ..descriptor(TABLE)
    }
}

/// Drives a merge from wherever it stands to its end.
async fn drive(store: &Stored, request: MergeRequest) -> Result<MergeDone, MergeError> {
    if store.group(request.source).is_some() {
        while !store.freeze(request).await?.frozen.everywhere {}
    }
    store.merge(request).await
}

fn check(store: &Stored, machine: &Machine) {
    block_on(async {
        for id in items() {
            assert_eq!(read(store, &id).await.as_deref(), Some("second"), "{id}");
        }
    });
    let group = store.group(PARENT).unwrap();
    let whole = descriptor(TABLE);
    assert_eq!(
        (&group.descriptor().start, &group.descriptor().end),
        (&whole.start, &whole.end)
    );
    assert!(store.group(CHILD).is_none());
    let partition = Partition::open(Arc::clone(&machine.state), whole.table, PARENT).unwrap();
    let found = verify(&partition.unwrap().reader).unwrap();
    assert_eq!(found.differences, Vec::<String>::new());
    assert_eq!(found.counted.items, ITEMS);
}

#[test]
fn two_become_one_and_asking_again_says_so() {
    let machine = Machine::default();
    let store = halved(&machine);
    let source = store.group(CHILD).unwrap();
    block_on(async {
        for id in items() {
            write(&store, &id, "second").await.unwrap();
        }
        let epoch = store.group(PARENT).unwrap().descriptor().range_epoch;
        let done = drive(&store, request(7)).await.unwrap();
        let MergeOutcome::Merged { range_epoch, .. } = done.outcome else {
            panic!("{done:?}")
        };
        assert!(range_epoch > epoch);
        assert_eq!(store.merge(request(7)).await, Ok(done.clone()));
        // Giving it up comes too late.
        assert_eq!(store.refuse_merge(request(7)).await, Ok(done));
        // Whoever still asks the source is sent elsewhere.
        assert_eq!(source.get(get(TABLE, "item-0")).await.unwrap_err(), Refusal::WrongRange);
        let late = source.write(put(TABLE, "item-0", "late")).await;
        assert_eq!(late.unwrap_err(), Refusal::WrongRange);
    });
    check(&store, &machine);
    // Its number is never used again; what was merged can be split.
    assert_eq!(store.bootstrap(elsewhere()).err(), Some(Refusal::WrongRange));
    block_on(async {
        let request = SplitRequest {
            id: Uuid::from_u128(2),
            at: SplitAt::Middle,
            child: GroupId(101),
        };
        store.split(PARENT, request).await.unwrap();
    });
    store.shutdown();
    drop(source);
}

#[test]
fn a_frozen_partition_answers_nobody_until_it_is_thawed() {
    let machine = Machine::default();
    let store = halved(&machine);
    block_on(async {
        let source = store.group(CHILD).unwrap();
        let mut ids = items();
        let id = ids.find(|id| group_of(&store, id).id() == CHILD).unwrap();
        let freeze = store.freeze(request(7)).await.unwrap();
        assert!(freeze.lacking.is_empty());
        assert!(source.stats().frozen.is_some() && source.stats().serving == 0);
        assert_eq!(write(&store, &id, "x").await, Err(Refusal::NotLeader));
        assert_eq!(source.get(get(TABLE, &id)).await.unwrap_err(), Refusal::NotLeader);
        let add = MemberChange::AddLearner {
            store: Uuid::from_u128(5),
        };
        let changed = source.change_members(Uuid::from_u128(1), add).await;
        assert_eq!(changed, Err(MembershipError::Frozen));
        let cut = SplitRequest {
            id: Uuid::from_u128(3),
            at: SplitAt::Middle,
            child: GroupId(102),
        };
        assert!(store.split(CHILD, cut).await.is_err());
        // It is for this merge alone.
        assert_eq!(
            store.freeze(request(8)).await,
            Err(MergeError::FrozenFor(CHILD, Uuid::from_u128(7)))
        );
        assert_eq!(
            store.merge(request(8)).await,
            Err(MergeError::FrozenFor(CHILD, Uuid::from_u128(7)))
        );

        // Only the absorber's log lets it go on.
        let (id_number, outcome) = (request(7).id.as_u128(), MergeOutcome::Refused);
        let of_another = MergeDone {
            id: 8,
            source: CHILD,
            outcome,
        };
        let not_refused = Err(MergeError::NotRefused(request(7).id));
        assert_eq!(store.thaw(request(7), &of_another).await, not_refused);
        let refused = store.refuse_merge(request(7)).await.unwrap();
        assert_eq!((refused.id, refused.outcome), (id_number, outcome));
        assert_eq!(store.merge(request(7)).await, Ok(refused.clone()));
        store.thaw(request(7), &refused).await.unwrap();
        store.thaw(request(7), &refused).await.unwrap();
        write(&store, &id, "again").await.unwrap();
        assert_eq!(read(&store, &id).await.as_deref(), Some("again"));
        assert_eq!(store.freeze(request(7)).await, Err(MergeError::Thawed(request(7).id)));

        // Another id can do it.
        for id in items() {
            write(&store, &id, "second").await.unwrap();
        }
        let done = drive(&store, request(9)).await.unwrap();
        assert!(matches!(done.outcome, MergeOutcome::Merged { .. }));
    });
    check(&store, &machine);
    store.shutdown();
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let machine = Machine::default();
    let store = halved(&machine);
    store.bootstrap(descriptor(2)).unwrap();
    block_on(async {
        let to = |absorber, source| MergeRequest {
            absorber,
            source,
            ..request(7)
        };
        let same = store.freeze(to(CHILD, CHILD)).await;
        assert_eq!(same, Err(MergeError::Fault(MergeFault::Same(CHILD))));
        let other = store.freeze(to(GroupId(2), CHILD)).await;
        assert_eq!(other, Err(MergeError::Fault(MergeFault::OtherTable(GroupId(2), CHILD))));
        assert_eq!(
            store.freeze(to(PARENT, GroupId(9))).await,
            Err(Refusal::WrongRange.into())
        );
        assert_eq!(
            store.merge(to(PARENT, GroupId(9))).await,
            Err(MergeError::NoSource(GroupId(9)))
        );
        assert_eq!(store.merge(request(7)).await, Err(MergeError::NotFrozen(CHILD)));
        let outcome = MergeOutcome::Refused;
        let claim = MergeDone {
            id: 7,
            source: CHILD,
            outcome,
        };
        assert_eq!(store.thaw(request(7), &claim).await, Err(MergeError::NotFrozen(CHILD)));

        // Three in a row: the outer ones are no neighbours.
        let far = GroupId(101);
        let cut = SplitRequest {
            id: Uuid::from_u128(2),
            at: SplitAt::Middle,
            child: far,
        };
        store.split(CHILD, cut).await.unwrap();
        leads(&store, far).await;
        let distant = store.freeze(to(PARENT, far)).await;
        assert_eq!(distant, Err(MergeError::Fault(MergeFault::NotNeighbours(PARENT, far))));
        // Frozen while they were neighbours, merged when they are not any more: refused for good.
        while !store.freeze(request(7)).await.unwrap().frozen.everywhere {}
        let between = SplitRequest {
            id: Uuid::from_u128(3),
            at: SplitAt::Middle,
            child: GroupId(103),
        };
        store.split(PARENT, between).await.unwrap();
        leads(&store, GroupId(103)).await;
        let done = store.merge(request(7)).await.unwrap();
        assert_eq!(done.outcome, MergeOutcome::Refused);
        store.thaw(request(7), &done).await.unwrap();
        for id in items() {
            write(&store, &id, "second").await.unwrap();
            assert_eq!(read(&store, &id).await.as_deref(), Some("second"));
        }
    });
    store.shutdown();
}

/// A restart that has to do all of it again: the second child comes behind the merge, which waits for the first one.
#[test]
fn what_was_split_after_a_merge_comes_back_behind_it() {
    let machine = Machine::default();
    let store = halved(&machine);
    let second = GroupId(101);
    block_on(async {
        drive(&store, request(7)).await.unwrap();
        let again = SplitRequest {
            id: Uuid::from_u128(2),
            at: SplitAt::Middle,
            child: second,
        };
        store.split(PARENT, again).await.unwrap();
    });
    machine.crash(store);
    let store = machine.start();
    assert!(store.group(CHILD).is_none());
    assert_eq!(store.group(second).unwrap().stats().counters.items, ITEMS / 2);
    block_on(async {
        for id in items() {
            assert_eq!(read(&store, &id).await.as_deref(), Some("first"), "{id}");
        }
    });
    store.shutdown();
}

/// Splits and merges until something fails; true when nothing did.
fn run(machine: &Machine, at: u64, fault: Fault) -> bool {
    let store = halved(machine);
    let finished = block_on(async {
        for id in items() {
            write(&store, &id, "second").await.unwrap();
        }
        machine.log.fail_at(machine.log.writes() + at, fault);
        if drive(&store, request(7)).await.is_err() {
            return false;
        }
        // Whatever is flushed at some time: the source's log goes when it can.
        store.cut_log();
        machine.state.flush().unwrap();
        store.cut_log();
        group_of(&store, "item-0")
            .write(put(TABLE, "item-0", "second"))
            .await
            .is_ok()
    });
    machine.crash(store);
    finished
}

/// What is driven on after the crash comes to the same end, and another crash changes nothing about that.
fn recover(machine: &Machine) {
    let store = machine.start();
    let done = block_on(drive(&store, request(7))).unwrap();
    assert!(matches!(done.outcome, MergeOutcome::Merged { .. }), "{done:?}");
    check(&store, machine);
    machine.crash(store);
    let store = machine.start();
    check(&store, machine);
    store.cut_log();
    machine.state.flush().unwrap();
    store.cut_log();
    machine.crash(store);
    let store = machine.start();
    check(&store, machine);
    store.shutdown();
    drop(store);
    let store = machine.start();
    check(&store, machine);
    assert_eq!(store.bootstrap(elsewhere()).err(), Some(Refusal::WrongRange));
    store.shutdown();
}

#[test]
fn a_merge_is_whole_wherever_the_disk_dies() {
    for fault in [Fault::Lost, Fault::Kept] {
        let mut failed = 0;
        for at in 1.. {
            let machine = Machine::default();
            let finished = run(&machine, at, fault);
            machine.log.recover();
            recover(&machine);
            if finished {
                break;
            }
            failed += 1;
        }
        // Freeze, everywhere, merge, the source's record, its tombstone.
        assert!(failed >= 5, "only {failed} writes of the log failed");
    }
}

#[test]
fn a_merge_is_whole_whatever_of_the_state_is_flushed() {
    for at in 1..=6 {
        let machine = Machine::default();
        let store = halved(&machine);
        block_on(async {
            for id in items() {
                write(&store, &id, "second").await.unwrap();
            }
            // Flushed in the middle, and dead at the next write or at a later one.
            machine.state.flush_at(machine.state.writes() + at);
            machine.state.fail_at(machine.state.writes() + at + at % 3);
            drop(drive(&store, request(7)).await);
        });
        machine.crash(store);
        machine.state.recover();
        recover(&machine);
    }
}

/// What is asked of a store whose every step is taken by hand.
fn asked<T>(store: &Arc<Stored>, question: impl AsyncFnOnce(&Stored) -> T + 'static) -> Asked<T> {
    let store = Arc::clone(store);
    Asked::new(async move { question(&store).await })
}

fn answer<T>(store: &Stored, mut asked: Asked<T>) -> T {
    loop {
        match asked.answer() {
            Some(answer) => return answer,
            None => assert!(store.apply(store.sync(store.gather().unwrap()).unwrap())),
        }
    }
}

#[test]
fn what_is_absorbed_while_it_is_being_destroyed_keeps_its_rows() {
    let machine = Machine::default();
    let by_hand = true;
    let store = machine.start_with(StoreOptions {
        by_hand,
        ..machine.deaths.options()
    });
    let store = store.unwrap();
    store.bootstrap(descriptor(TABLE)).unwrap();
    for id in items() {
        answer(
            &store,
            asked(&store, async move |store| write(store, &id, "second").await),
        )
        .unwrap();
    }
    answer(&store, asked(&store, async |store| split(store).await));
    while !answer(&store, asked(&store, async |store| store.freeze(request(7)).await))
        .unwrap()
        .frozen
        .everywhere
    {}
    let mut merging = asked(&store, async |store| store.merge(request(7)).await);
    assert!(merging.answer().is_none());
    // What was on its way when it was called is applied first.
    store.destroy(CHILD).unwrap();
    let done = merging.answer().unwrap().unwrap();
    assert!(matches!(done.outcome, MergeOutcome::Merged { .. }));
    check(&store, &machine);
}
