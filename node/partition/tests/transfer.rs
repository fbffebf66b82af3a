//! A partition's rows on their way to another store, on both engines.
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::Bound;
use std::sync::Arc;

use common::{Engine, Memory, Replica, Rocks, full_schema, put_numbered};
use partita_partition::Partition;
use partita_partition::descriptor::{self, GroupId, PartitionDescriptor};
use partita_partition::row::{self, MetaKind};
use partita_partition::storage::memory::MemoryStorage;
use partita_partition::storage::{Batch as _, Cursor as _, Family, Storage, Tier};
use partita_partition::transfer::{self, Place};

type Rows = Vec<(Family, Vec<u8>, Vec<u8>)>;

fn rows<S: Storage>(storage: &S) -> Rows {
    let mut found = Vec::new();
    for family in Family::ALL {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut cursor = storage.scan(family, all, false, Tier::All).unwrap();
        while let Some((key, value)) = cursor.next().unwrap() {
            found.push((family, key.to_vec(), value.to_vec()));
        }
    }
    found
}

/// A table with rows in every family.
/// Fills a partition, pins it, changes it, and sends what was pinned to a store that holds other rows of the partition.
fn script<E: Engine>(bytes_max: usize) {
    let described = common::descriptor(full_schema());
    let mut replica: Replica<E> = Replica::new(&described);
    for number in 0..40 {
        replica.propose(&put_numbered(number)).unwrap();
        replica.commit();
    }
    let source = replica.engine.as_ref().unwrap().storage();
    let expected = rows(&*source);
    let pinned = source.pin();
    for number in 20..60 {
        replica.propose(&put_numbered(number)).unwrap();
        replica.commit();
    }
    assert_ne!(rows(&*source), expected);

    let head = transfer::head(&pinned, described.table, described.group)
        .unwrap()
        .unwrap();
    assert_eq!(head.descriptor().unwrap(), described);
    let target = E::new();
    let storage = target.storage();
    let mut place = Some(Place::default());
    let mut chunks = 0;
    while let Some(from) = place {
        let (chunk, next) = transfer::export(&pinned, &described, &from, bytes_max).unwrap();
        // Read again from the same place it is the same.
        assert_eq!(
            transfer::export(&pinned, &described, &from, bytes_max).unwrap().0,
            chunk
        );
        let mut batch = storage.batch();
        transfer::import(&mut batch, &described, &chunk).unwrap();
        storage.write(batch).unwrap();
        place = next;
        chunks += 1;
    }
    assert!(chunks > 1 || bytes_max > 10_000);
    drop(pinned);
    let mut batch = storage.batch();
    let key = |kind| row::meta(described.table, described.group, kind);
    batch.put(Family::Meta, &key(MetaKind::Descriptor), &head.descriptor);
    batch.put(Family::Meta, &key(MetaKind::State), &head.state);
    storage.write(batch).unwrap();
    assert_eq!(rows(&*storage), expected);
    let opened = Partition::open(Arc::clone(&storage), described.table, described.group);
    assert_eq!(opened.unwrap().unwrap().applier.at(), head.at);
}

#[test]
fn memory() {
    script::<Memory>(500);
    script::<Memory>(1 << 20);
}

#[test]
fn rocks() {
    script::<Rocks>(500);
}

#[test]
fn what_is_no_chunk_is_refused_and_other_groups_rows_stay_behind() {
    let storage = Memory::new().storage();
    let described = common::descriptor(full_schema());
    let mut batch = storage.batch();
    assert!(transfer::import(&mut batch, &described, &[]).is_err());
    assert!(transfer::import(&mut batch, &described, &[9]).is_err());
    assert!(transfer::import(&mut batch, &described, &[1, Family::Items as u8, 200, 1]).is_err());
    // Expiry rows are rebuilt, never taken.
    assert!(transfer::import(&mut batch, &described, &[1, Family::Expiry as u8, 1, 1, 0]).is_err());

    let other = PartitionDescriptor {
        group: GroupId(described.group.0 + 1),
        ..described.clone()
    };
    let mut batch = storage.batch();
    Partition::<MemoryStorage>::create(&mut batch, &other).unwrap();
    let change = row::change(other.table, other.group, descriptor::ItemTime(7));
    batch.put(Family::Changes, &change, b"x");
    storage.write(batch).unwrap();
    let (chunk, next) = transfer::export(&*storage, &described, &Place::default(), 1000).unwrap();
    assert_eq!((chunk, next), (vec![1], None));
    assert_eq!(
        transfer::head(&*storage, described.table, described.group).unwrap(),
        None
    );
}
