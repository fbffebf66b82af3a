//! A partition is cut in two, on both engines.
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::Bound;
use std::sync::Arc;

use common::{Engine, Memory, Replica, Rocks, full_schema, put_numbered};
use partita_model::key::{self, KeyBytes};
use partita_model::request::{PageRequest, Refusal, Target};
use partita_partition::Partition;
use partita_partition::applier::Birth;
use partita_partition::descriptor::{GroupId, ItemTime, LogPosition, PartitionDescriptor};
use partita_partition::effect::split_of;
use partita_partition::error::PartitionError;
use partita_partition::split::{self, SplitAt, SplitFault};
use partita_partition::storage::{Cursor as _, Family, Storage, Tier, View as _};
use partita_partition::verify::verify;

const CHILD: GroupId = GroupId(77);

/// A table with rows in every family.
/// Counts, writes meanwhile, and splits. What the partition and its child hold is what they count.
fn cut<E: Engine>(replica: &mut Replica<E>, at: &SplitAt) -> Partition<E::Storage> {
    cut_where(replica, at, true).unwrap()
}

/// The same; where the child is not born it is not there.
fn cut_where<E: Engine>(replica: &mut Replica<E>, at: &SplitAt, is_born: bool) -> Option<Partition<E::Storage>> {
    let storage = replica.engine.as_ref().unwrap().storage();
    // In flight while the tally begins: the view does not have it.
    replica.propose(&put_numbered(500)).unwrap();
    let tally = replica.partition.evaluator.begin_tally();
    replica.propose(&put_numbered(501)).unwrap();
    replica.commit_first(1);
    let view = storage.pin();
    let counted = split::count(&view, &replica.partition.reader.descriptor(), at).unwrap();
    drop(view);
    replica.commit();
    let index = replica.partition.applier.at().index;
    let last = replica.partition.evaluator.last_sequence();
    replica.partition.evaluator.note_entry(index, last);
    let through = replica.partition.evaluator.sequence_at(counted.at.index);
    assert_eq!((counted.at.index, through), (index - 1, 0));
    for number in 502..520 {
        replica.propose(&put_numbered(number)).unwrap();
        replica.commit();
    }
    replica.propose(&put_numbered(520)).unwrap();
    replica.commit();
    let evaluated = replica
        .partition
        .evaluator
        .split(9, CHILD, &counted, tally, through)
        .unwrap();
    let (effect, record) = evaluated.unwrap();
    assert_eq!(split_of(&effect.bytes).unwrap().as_ref(), Some(&record));
    // From here on in the order of the log.
    let left = replica.partition.evaluator.descriptor();
    assert_eq!((left.end.as_ref(), left.range_epoch), (Some(&counted.key), 2));
    let mut batch = storage.batch();
    let birth = Birth {
        at: LogPosition { index: 1, term: 1 },
        members: b"members",
    };
    let birth = is_born.then_some(&birth);
    replica.partition.applier.split(&mut batch, &record, birth).unwrap();
    let index = replica.partition.applier.at().index + 1;
    replica
        .partition
        .applier
        .finish(&mut batch, LogPosition { index, term: 1 });
    storage.write(batch).unwrap();
    replica.partition.applier.publish();
    replica.partition.evaluator.applied(effect.sequence);
    let child = Partition::open(storage, left.table, CHILD).unwrap();
    for partition in std::iter::once(&replica.partition).chain(&child) {
        assert_eq!(verify(&partition.reader).unwrap().differences, Vec::<String>::new());
    }
    child
}

fn filled<E: Engine>() -> Replica<E> {
    let mut replica: Replica<E> = Replica::new(&common::descriptor(full_schema()));
    for number in 0..60 {
        replica.propose(&put_numbered(number)).unwrap();
        replica.commit();
    }
    replica
}

fn script<E: Engine>() {
    let mut replica = filled::<E>();
    let before = replica.partition.reader.changes(ItemTime(0), 1000, usize::MAX).unwrap();
    let mut child = cut(&mut replica, &SplitAt::Middle);
    let (left, right) = (replica.partition.reader.applied(), child.reader.applied());
    assert_eq!(left.counters.items + right.counters.items, 81);
    let share = right.counters.bytes * 100 / (left.counters.bytes + right.counters.bytes);
    assert!((25..=75).contains(&share), "{share} of a hundred bytes left");
    // Collections of a table with local indexes stay in one piece.
    let collection = key::collection_of(&full_schema().keys, right.descriptor.start.as_bytes());
    assert_eq!(collection.unwrap_or_default().len(), right.descriptor.start.0.len());
    assert_eq!((right.descriptor.range_epoch, right.at.index), (2, 1));
    assert_eq!(right.counters.clock, left.counters.clock);

    // Each change record is where its item is, with the time that it had.
    let left_changes = replica.partition.reader.changes(ItemTime(0), 1000, usize::MAX).unwrap();
    let right_changes = child.reader.changes(ItemTime(0), 1000, usize::MAX).unwrap();
    assert_eq!(left_changes.len() + right_changes.len(), 81);
    let of = |record: &partita_partition::change::ChangeRecord| {
        key::primary(&full_schema().keys, full_schema().seed, record.keys.as_ref()).unwrap()
    };
    assert!(
        right_changes
            .iter()
            .all(|record| right.descriptor.contains(&of(record)))
    );
    assert!(left_changes.iter().all(|record| left.descriptor.contains(&of(record))));
    assert!(
        before
            .iter()
            .all(|record| left_changes.contains(record) || right_changes.contains(record))
    );

    // Expired items are found by the half that has them.
    let expired = |reader: &partita_partition::reader::PartitionReader<E::Storage>| {
        reader.expired(1_750_001_000, 1000).unwrap().len() as u64
    };
    assert_eq!(expired(&replica.partition.reader), left.counters.items);
    assert_eq!(expired(&child.reader), right.counters.items);

    // Whoever asks the wrong half is told so.
    for number in 0..60 {
        let request = put_numbered(number);
        let (own, other) = if left.descriptor.contains(&request.key) {
            (&mut replica.partition, &mut child)
        } else {
            (&mut child, &mut replica.partition)
        };
        let wrong = other.evaluator.evaluate(&request, common::NOW_MS, Default::default());
        assert_eq!(wrong.unwrap_err(), PartitionError::Refused(Refusal::WrongRange));
        own.evaluator
            .evaluate(&request, common::NOW_MS, Default::default())
            .unwrap();
    }

    // The lineage is remembered by both.
    let lineage = replica.partition.reader.lineage().unwrap();
    assert_eq!(lineage.split(9).map(|done| done.child), Some(CHILD));
    let inherited = child.reader.lineage().unwrap();
    assert_eq!(inherited.ancestors, [(left.descriptor.group, 2)]);

    // A crash forgets both, or neither.
    let engine = replica.engine.take().unwrap();
    drop((replica, child));
    let storage = engine.crash().storage();
    assert!(
        Partition::open(Arc::clone(&storage), left.descriptor.table, CHILD)
            .unwrap()
            .is_none()
    );
    let parent = Partition::open(storage, left.descriptor.table, left.descriptor.group).unwrap();
    assert_eq!(parent.unwrap().reader.descriptor().range_epoch, 1);
}

/// A child that was here before, and was destroyed, leaves nothing behind when its parent comes to the cut anew.
fn gone<E: Engine>() {
    let mut replica = filled::<E>();
    assert!(cut_where(&mut replica, &SplitAt::Middle, false).is_none());
    let storage = replica.engine.as_ref().unwrap().storage();
    let count = |family| {
        let mut rows = storage
            .scan(family, (Bound::Unbounded, Bound::Unbounded), false, Tier::All)
            .unwrap();
        let mut count = 0;
        while rows.next().unwrap().is_some() {
            count += 1;
        }
        count
    };
    let left = replica.partition.reader.applied().counters.items;
    assert!((1..81).contains(&left));
    assert_eq!((count(Family::Items), count(Family::Expiry)), (left, left));
}

#[test]
fn memory() {
    script::<Memory>();
    gone::<Memory>();
}

#[test]
fn rocks() {
    script::<Rocks>();
    gone::<Rocks>();
}

#[test]
fn a_split_key_is_checked() {
    let replica = filled::<Memory>();
    let storage = replica.engine.as_ref().unwrap().storage();
    let described = replica.partition.reader.descriptor();
    let fault = |descriptor: &PartitionDescriptor, at: SplitAt| split::count(&*storage, descriptor, &at).unwrap_err();
    let first = SplitAt::Key(KeyBytes::default());
    assert!(matches!(fault(&described, first), SplitFault::Outside(..)));
    let item = put_numbered(3).key;
    let inside = fault(&described, SplitAt::Key(item.clone()));
    let collection = key::collection_of(&full_schema().keys, item.as_bytes()).unwrap();
    let begins = KeyBytes(collection.to_vec());
    assert_eq!(inside, SplitFault::InsideCollection(item.clone(), begins.clone()));
    assert!(inside.to_string().contains("inside an item collection"), "{inside}");
    let hex = |key: &KeyBytes| key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let keys = [&item, &begins].map(hex);
    assert!(keys.iter().all(|key| !inside.to_string().contains(key)), "{inside}");
    assert!(split::count(&*storage, &described, &SplitAt::Key(begins)).is_ok());
    // Without local indexes a cut may fall inside a collection.
    let plain = common::descriptor(common::schema());
    assert_eq!(split::check_key(&plain, &item), Ok(()));
    let half = PartitionDescriptor {
        end: Some(item.clone()),
        ..plain.clone()
    };
    assert!(matches!(split::check_key(&half, &item), Err(SplitFault::Outside(..))));
}

#[test]
fn what_is_in_one_piece_has_no_middle() {
    let mut replica: Replica<Memory> = Replica::new(&common::descriptor(full_schema()));
    let storage = replica.engine.as_ref().unwrap().storage();
    let middle =
        |replica: &Replica<Memory>| split::count(&*storage, &replica.partition.reader.descriptor(), &SplitAt::Middle);
    assert_eq!(middle(&replica).unwrap_err(), SplitFault::Indivisible);
    for number in [0, 7, 14, 21] {
        // All of one collection.
        replica.propose(&put_numbered(number)).unwrap();
        replica.commit();
        assert_eq!(middle(&replica).unwrap_err(), SplitFault::Indivisible);
    }
    replica.propose(&put_numbered(1)).unwrap();
    replica.commit();
    assert!(middle(&replica).is_ok());
}

#[test]
fn a_page_beyond_the_cut_is_refused() {
    let mut replica = filled::<Memory>();
    cut(&mut replica, &SplitAt::Middle);
    let descriptor = replica.partition.reader.descriptor();
    let page = |range| {
        let request = PageRequest {
            range,
            ..common::scan(&full_schema(), Target::Table)
        };
        replica.partition.reader.page(&request, Default::default())
    };
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let end = descriptor.end.clone().unwrap();
    let wrong = PartitionError::Refused(Refusal::WrongRange);
    assert_eq!(page((Unbounded, Unbounded)).unwrap_err(), wrong);
    assert_eq!(page((Unbounded, Included(end.clone()))).unwrap_err(), wrong);
    assert_eq!(page((Included(end.clone()), Unbounded)).unwrap_err(), wrong);
    let own = page((Unbounded, Excluded(end))).unwrap();
    assert_eq!(
        u64::from(own.scanned),
        replica.partition.reader.applied().counters.items
    );
}
