//! Digests find what differs, and nothing else, on both engines.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Engine, Memory, Replica, Rocks};
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::Refusal;
use partita_model::schema::{IndexId, IndexProjection, TableSchema};
use partita_partition::command::{Command, IndexBatch, IndexRow, RowChange, Session};
use partita_partition::descriptor::{GroupId, ItemTime, PartitionDescriptor};
use partita_partition::digest::{Asked, Digest, Piece, Pieces, Subject, digest};
use partita_partition::error::PartitionError;
use partita_partition::storage::Storage;

const INDEX: IndexId = IndexId(2);
const ITEMS: usize = 60;

fn schema() -> TableSchema {
    TableSchema {
        local: vec![common::local(1, "l", IndexProjection::All)],
        global: vec![common::global(INDEX.0, "g", IndexProjection::KeysOnly)],
        ..common::schema()
    }
}

fn item(number: usize, text: &str) -> Item {
    let (p, s, g) = (
        format!("p-{}", number % 7),
        format!("s-{number}"),
        format!("g-{}", number % 5),
    );
    common::item(&[("p", &p), ("s", &s), ("l", "local"), ("g", &g), ("text", text)])
}

fn whole(count: u32) -> Pieces {
    Pieces {
        from: KeyBytes::default(),
        to: None,
        count,
    }
}

fn ask<E: Engine>(replica: &Replica<E>, subject: Subject, pieces: Pieces) -> Result<Digest, PartitionError> {
    let asked = Asked {
        subject,
        from: KeyBytes::default(),
        to: None,
        pieces,
        keys_max: 1000,
    };
    let view = replica.engine.as_ref().unwrap().storage().pin();
    digest(&view, &replica.partition.reader.descriptor(), &asked)
}

fn sum(pieces: &[Piece]) -> Piece {
    let add = |sum: Piece, piece: &Piece| Piece {
        rows: sum.rows + piece.rows,
        sum: sum.sum.wrapping_add(piece.sum),
    };
    pieces.iter().fold(Piece::default(), add)
}

fn table<E: Engine>() -> Replica<E> {
    let mut replica = Replica::<E>::new(&common::descriptor(schema()));
    for number in 0..ITEMS {
        replica.write(&common::put(&schema(), &item(number, "first")));
    }
    replica
}

fn replicas<E: Engine>() {
    let one = table::<E>();
    let mut other = Replica::<E>::new(&common::descriptor(schema()));
    other.log.clone_from(&one.log);
    other.apply();
    let digests = |replica: &Replica<E>, pieces| ask(replica, Subject::Replica, pieces).unwrap().pieces;
    assert_eq!(digests(&one, whole(16)), digests(&other, whole(16)));
    // However it is divided, all of it is the same: items, local rows, and the sizes of collections.
    let all = sum(&digests(&one, whole(1)));
    assert_eq!(all.rows as usize, 2 * ITEMS + 7);
    for count in [2, 16, 100] {
        assert_eq!(sum(&digests(&one, whole(count))), all);
        let divided: Vec<Piece> = (0..count as usize)
            .flat_map(|piece| digests(&one, whole(count).divide(piece, 3)))
            .collect();
        assert_eq!(sum(&divided), all);
    }
    other.write(&common::put(&schema(), &item(9, "other")));
    let key = common::primary(&schema(), &item(9, ""));
    let (ours, theirs) = (digests(&one, whole(16)), digests(&other, whole(16)));
    let differing: Vec<usize> = (0..16).filter(|piece| ours[*piece] != theirs[*piece]).collect();
    assert_eq!(differing, [whole(16).of(&key).unwrap()]);
    let keys = |replica| {
        ask(replica, Subject::Replica, whole(16).divide(differing[0], 1))
            .unwrap()
            .keys
            .unwrap()
    };
    let (ours, theirs) = (keys(&one), keys(&other));
    let changed: Vec<_> = ours
        .iter()
        .filter(|row| !theirs.contains(row))
        .map(|(key, _)| key)
        .collect();
    assert!(changed.contains(&&key), "{changed:?}");
}

fn index<E: Engine>() {
    let mut base = table::<E>();
    let schema = schema();
    let descriptor = PartitionDescriptor::whole_index(GroupId(5), &schema, schema.global[0].clone());
    let mut index = Replica::<E>::new(&descriptor);
    let rows = (0..ITEMS).map(|number| {
        let (key, row) = schema.global_row(&schema.global[0], item(number, "").as_ref()).unwrap();
        IndexRow {
            time: ItemTime(number as u64 + 1),
            key,
            change: RowChange::Put(row),
        }
    });
    let batch = IndexBatch {
        source: GroupId(3),
        session: Session {
            range_epoch: 1,
            term: 1,
        },
        rows: rows.collect(),
        through: ItemTime(ITEMS as u64 + 1),
    };
    index.command(&Command::Deliver(batch)).unwrap();
    let called_for = |base: &Replica<E>| ask(base, Subject::CalledFor(INDEX), whole(16)).unwrap().pieces;
    let held = ask(&index, Subject::IndexRows, whole(16)).unwrap().pieces;
    assert_eq!(called_for(&base), held);
    // What the index does not project changes nothing there, whatever time it has.
    base.write(&common::put(&schema, &item(9, "second")));
    assert_eq!(called_for(&base), held);
    base.write(&common::delete(&schema, &schema.key_item(item(9, "").as_ref())));
    assert_eq!(sum(&called_for(&base)).rows + 1, sum(&held).rows);

    let unknown = ask(&base, Subject::CalledFor(IndexId(9)), whole(1)).unwrap_err();
    assert!(matches!(unknown.into_refusal(), Refusal::StaleSchema));
    let few = Asked {
        subject: Subject::IndexRows,
        from: KeyBytes::default(),
        to: None,
        pieces: whole(1),
        keys_max: ITEMS - 1,
    };
    let view = index.engine.as_ref().unwrap().storage().pin();
    assert_eq!(digest(&view, &descriptor, &few).unwrap().keys, None);
}

#[test]
fn replicas_are_compared() {
    replicas::<Memory>();
    replicas::<Rocks>();
}

#[test]
fn an_index_is_compared_with_its_table() {
    index::<Memory>();
    index::<Rocks>();
}
