//! Random sequences of writes against a plain map of items: with effects in flight, refused proposals, flushes and
//! crashes. Afterwards items, counters, index rows, expiry rows and a global index built from the change log are what
//! the map says, and applying the log again from any flush comes to the same rows.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use common::*;
use partita_model::expression::{Condition, Kind, Placeholders, Update};
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::number::Number;
use partita_model::request::{Target, WriteRequest};
use partita_model::schema::{IndexId, IndexProjection, StreamView, TableSchema};
use partita_model::value::Value;
use partita_partition::Partition;
use partita_partition::command::{Command, CommandReply, IndexBatch, IndexRow, Session};
use partita_partition::descriptor::{GroupId, ItemTime, LogPosition, PartitionDescriptor};
use partita_partition::evaluator::Evaluated;
use partita_partition::storage::memory::MemoryStorage;
use partita_partition::storage::{Cursor, Family, Storage, Tier, View};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const SOURCE: GroupId = GroupId(3);
const INDEX: IndexId = IndexId(4);

/// One step of a test.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, Attributes),
    /// Only if there is no item yet.
    Create(u8, Attributes),
    /// `ADD n :n SET l = :l`, and the global index's key goes.
    Update(u8, i8, u8),
    Delete(u8),
    /// What is in flight, but for the last so many effects, becomes an entry and is applied.
    Commit(u8),
    /// The last so many effects in flight are refused.
    Refuse(u8),
    Flush,
    Crash,
    /// The change log goes to the global index: so many records, from so many before the position on.
    Deliver(u8, u8),
    /// The wall clock moves, also backwards.
    Clock(i8),
}

#[derive(Debug, Clone)]
struct Attributes {
    local: Option<u8>,
    global: Option<u8>,
    projected: u8,
    expiry: Option<u8>,
    size: u16,
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let few = || proptest::option::of(0..3u8);
    (few(), few(), 0..3u8, few(), 0..1500u16).prop_map(|(local, global, projected, expiry, size)| Attributes {
        local,
        global,
        projected,
        expiry,
        size,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..6u8;
    prop_oneof![
        6 => (key(), attributes()).prop_map(|(k, a)| Step::Put(k, a)),
        2 => (key(), attributes()).prop_map(|(k, a)| Step::Create(k, a)),
        4 => (key(), any::<i8>(), 0..3u8).prop_map(|(k, n, l)| Step::Update(k, n, l)),
        3 => key().prop_map(Step::Delete),
        5 => (0..4u8).prop_map(Step::Commit),
        1 => (1..4u8).prop_map(Step::Refuse),
        2 => Just(Step::Flush),
        1 => Just(Step::Crash),
        2 => (1..6u8, 0..6u8).prop_map(|(n, back)| Step::Deliver(n, back)),
        1 => any::<i8>().prop_map(Step::Clock),
    ]
}

fn table() -> TableSchema {
    let mut schema = schema();
    schema.local = vec![
        local(1, "l", IndexProjection::KeysOnly),
        local(2, "g", IndexProjection::Include(vec!["x".to_owned()])),
    ];
    schema.global = vec![global(
        INDEX.0,
        "g",
        IndexProjection::Include(vec!["x".to_owned(), "n".to_owned()]),
    )];
    schema.time_to_live = Some("ttl".to_owned());
    schema.stream = Some(StreamView::NewAndOldImages);
    schema
}

fn key(k: u8) -> Item {
    item(&[("p", ["a", "b"][usize::from(k) % 2]), ("s", &k.to_string())])
}

fn number(n: i64) -> Value {
    Value::number(Number::parse(&n.to_string()).unwrap())
}

fn whole(k: u8, attributes: &Attributes) -> Item {
    let text = |n: u8| Value::string(&format!("t{n}"));
    let mut item = with(&key(k), "x", &text(attributes.projected));
    item = with(&item, "blob", &Value::binary(&vec![7; usize::from(attributes.size)]));
    for (name, value) in [("l", attributes.local.map(text)), ("g", attributes.global.map(text))] {
        if let Some(value) = value {
            item = with(&item, name, &value);
        }
    }
    match attributes.expiry {
        Some(expiry) => with(&item, "ttl", &number(i64::from(expiry))),
        None => item,
    }
}

/// What the update of [`Step::Update`] makes of an item.
fn updated(old: Option<&Item>, k: u8, n: i8, l: u8) -> Item {
    let old = old.cloned().unwrap_or_else(|| key(k));
    let before = old
        .as_ref()
        .get("n")
        .map_or(0, |v| v.as_number().unwrap().to_i64().unwrap());
    let item = with(&old, "n", &number(before + i64::from(n)));
    let item = with(&item, "l", &Value::string(&format!("t{l}")));
    item.as_ref().with("g", None)
}

fn update_expression(n: i8, l: u8) -> Update {
    let (n, l) = (number(i64::from(n)), Value::string(&format!("t{l}")));
    let values = [(":n", Ok(n.as_ref())), (":l", Ok(l.as_ref()))];
    let placeholders = Placeholders::new(None::<Vec<(&str, &str)>>, Some(values)).unwrap();
    Update::parse("ADD n :n SET l = :l REMOVE g", &placeholders).unwrap()
}

type Items = BTreeMap<u8, Item>;

/// The partition, its global index, and what both should hold.
struct World {
    schema: TableSchema,
    replica: Replica<Memory>,
    index: Replica<Memory>,
    /// With everything in flight applied.
    items: Items,
    /// The items before each effect in flight, with the effect's sequence.
    before: Vec<(u64, Items)>,
}

impl World {
    fn new() -> Self {
        let schema = table();
        let index = PartitionDescriptor::whole_index(GroupId(5), &schema, schema.global[0].clone());
        Self {
            replica: Replica::new(&descriptor(schema.clone())),
            index: Replica::new(&index),
            schema,
            items: Items::new(),
            before: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put(k, attributes) => {
                let item = whole(*k, attributes);
                let request = put(&self.schema, &item);
                self.write(*k, &request, Some(item));
            }
            Step::Create(k, attributes) => {
                let item = whole(*k, attributes);
                let mut request = put(&self.schema, &item);
                let none = Placeholders::default();
                request.condition = Some(Condition::parse(Kind::Condition, "attribute_not_exists(p)", &none).unwrap());
                let item = self.items.get(k).cloned().unwrap_or(item);
                self.write(*k, &request, Some(item));
            }
            Step::Update(k, n, l) => {
                let item = updated(self.items.get(k), *k, *n, *l);
                let request = update(&self.schema, &key(*k), update_expression(*n, *l));
                self.write(*k, &request, Some(item));
            }
            Step::Delete(k) => {
                let request = delete(&self.schema, &key(*k));
                self.write(*k, &request, None);
            }
            Step::Commit(but) => {
                let count = self.before.len().saturating_sub(usize::from(*but));
                self.replica.commit_first(count);
                self.before.drain(..count);
            }
            Step::Refuse(count) => self.refuse(usize::from(*count)),
            Step::Flush => self.replica.partition.reader.storage().flush().unwrap(),
            Step::Crash => {
                if let Some((_, items)) = self.before.first() {
                    self.items = items.clone();
                }
                self.before.clear();
                let applied = self.replica.partition.reader.applied();
                self.replica.crash();
                assert_eq!(self.replica.partition.reader.applied(), applied);
            }
            Step::Deliver(records, back) => {
                self.deliver(usize::from(*records), u64::from(*back));
            }
            Step::Clock(ms) => self.replica.now_ms = self.replica.now_ms.saturating_add_signed(i64::from(*ms)),
        }
    }

    fn write(&mut self, k: u8, request: &WriteRequest, item: Option<Item>) {
        let old = self.items.get(&k).cloned();
        let evaluated = self.replica.propose(request).unwrap();
        match (&evaluated, old == item) {
            (Evaluated::Changed { effect, .. }, false) => {
                self.before.push((effect.sequence, self.items.clone()));
                match item {
                    Some(item) => self.items.insert(k, item),
                    None => self.items.remove(&k),
                };
            }
            (Evaluated::Unchanged { .. } | Evaluated::Refused { .. }, true) => {}
            (unexpected, _) => panic!("{unexpected:?} of {old:?} to {item:?}"),
        }
    }

    fn refuse(&mut self, count: usize) {
        let keep = self.before.len().saturating_sub(count);
        let Some((from, items)) = self.before.get(keep).cloned() else {
            return;
        };
        self.items = items;
        self.before.truncate(keep);
        self.replica.pending.truncate(keep);
        self.replica.partition.evaluator.discard_from(from);
    }

    /// Whether there was anything to deliver.
    fn deliver(&mut self, records_max: usize, back: u64) -> bool {
        let position = self
            .index
            .partition
            .reader
            .position(SOURCE)
            .unwrap()
            .unwrap_or_default();
        let from = ItemTime(position.through.0.saturating_sub(back));
        let records = self
            .replica
            .partition
            .reader
            .changes(from, records_max, usize::MAX)
            .unwrap();
        let Some(last) = records.last() else {
            return false;
        };
        let through = last.time;
        let rows = records
            .into_iter()
            .flat_map(|record| {
                record
                    .rows
                    .into_iter()
                    .map(move |(_, key, change)| (record.time, key, change))
            })
            .map(|(time, key, change)| IndexRow { time, key, change })
            .collect();
        let session = Session {
            range_epoch: 1,
            term: 1,
        };
        let batch = IndexBatch {
            source: SOURCE,
            session,
            rows,
            through,
        };
        let reply = self.index.command(&Command::Deliver(batch)).unwrap();
        assert!(matches!(reply, CommandReply::Delivered(now) if now.through >= position.through));
        through > position.through
    }

    fn check(&mut self) {
        self.replica.commit();
        self.replica.verify();
        let stored: BTreeMap<Vec<u8>, Item> = self
            .replica
            .page(&scan(&self.schema, Target::Table))
            .items
            .iter()
            .map(|item| (primary(&self.schema, item).0, timeless(item)))
            .collect();
        let expected: BTreeMap<Vec<u8>, Item> = self
            .items
            .values()
            .map(|item| (primary(&self.schema, item).0, item.clone()))
            .collect();
        assert_eq!(stored, expected);
        self.check_index();
        assert_eq!(
            dump(self.replica.partition.reader.storage()),
            self.applied_from_the_log()
        );
    }

    fn check_index(&mut self) {
        while self.deliver(3, 1) {}
        self.index.verify();
        let mut request = scan(&self.schema, Target::Global(INDEX));
        request.consistent = false;
        let stored: Vec<Item> = self.index.page(&request).items.iter().map(timeless).collect();
        let mut expected: Vec<(KeyBytes, Item)> = self
            .items
            .values()
            .filter_map(|item| self.schema.global_row(&self.schema.global[0], item.as_ref()))
            .collect();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let expected: Vec<Item> = expected.into_iter().map(|(_, row)| row).collect();
        assert_eq!(stored, expected);
    }

    /// The rows of another replica that never crashed.
    fn applied_from_the_log(&self) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
        let storage = Arc::new(MemoryStorage::new());
        let mut batch = storage.batch();
        let descriptor = descriptor(self.schema.clone());
        Partition::<MemoryStorage>::create(&mut batch, &descriptor).unwrap();
        storage.write(batch).unwrap();
        let mut partition = Partition::open(Arc::clone(&storage), descriptor.table, descriptor.group)
            .unwrap()
            .unwrap();
        for (index, entry) in self.replica.log.iter().enumerate() {
            let mut batch = storage.batch();
            for effect in entry {
                partition.applier.apply(&mut batch, effect).unwrap();
            }
            let index = index as u64 + 1;
            partition.applier.finish(&mut batch, LogPosition { index, term: 1 });
            storage.write(batch).unwrap();
        }
        dump(&storage)
    }
}

fn dump(storage: &MemoryStorage) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    for family in Family::ALL {
        let mut cursor = storage
            .scan(family, (Bound::Unbounded, Bound::Unbounded), false, Tier::All)
            .unwrap();
        while let Some((key, value)) = cursor.next().unwrap() {
            rows.push((family, key.to_vec(), value.to_vec()));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_partition_is_a_map_of_items(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.check();
    }
}
