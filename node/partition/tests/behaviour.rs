//! What a partition does, over both storage engines.
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::Bound;
use std::sync::Arc;

use common::*;
use partita_model::capacity::HalfUnits;
use partita_model::error::ErrorCode;
use partita_model::expression::{Condition, Kind, Placeholders, Projection, Update};
use partita_model::item::Item;
use partita_model::request::{Origin, Refusal, ReturnValues, Target, WriteReply};
use partita_model::schema::{IndexId, IndexProjection, SchemaVersion, StreamView, TableSchema};
use partita_model::value::Value;
use partita_partition::Partition;
use partita_partition::change::ChangeKind;
use partita_partition::command::{Command, CommandReply, Delivered, IndexBatch, IndexRow, RowChange, Session};
use partita_partition::descriptor::{GroupId, ItemTime, LogPosition, PartitionDescriptor};
use partita_partition::error::PartitionError;
use partita_partition::evaluator::Evaluated;
use partita_partition::storage::{Cursor, Family, Storage, Tier};

/// Runs each script over both engines.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn memory() {
                super::$name::<super::Memory>();
            }
            #[test]
            fn rocks() {
                super::$name::<super::Rocks>();
            }
        }
    )*};
}

over_both!(
    writes_and_reads,
    conditions_and_updates,
    effects_in_flight,
    pages,
    local_indexes,
    change_log,
    global_index_rows,
    backfill,
    time_to_live,
    schema_changes,
    crash_and_destroy,
);

fn number(n: i64) -> Value {
    Value::number(partita_model::number::Number::parse(&n.to_string()).unwrap())
}

fn placeholders<'a>(values: &'a [(&'a str, Value)]) -> Placeholders<'a> {
    let values = (!values.is_empty()).then(|| values.iter().map(|(name, value)| (*name, Ok(value.as_ref()))));
    Placeholders::new(None::<Vec<(&str, &str)>>, values).unwrap()
}

fn condition(text: &str, values: &[(&str, Value)]) -> Option<Condition> {
    Some(Condition::parse(Kind::Condition, text, &placeholders(values)).unwrap())
}

fn updating(text: &str, values: &[(&str, Value)]) -> Update {
    Update::parse(text, &placeholders(values)).unwrap()
}

fn reply(evaluated: Evaluated) -> WriteReply {
    match evaluated {
        Evaluated::Changed { reply, .. } | Evaluated::Unchanged { reply } => reply,
        Evaluated::Refused { error, .. } => panic!("refused: {error}"),
    }
}

fn writes_and_reads<E: Engine>() {
    let schema = schema();
    let mut replica = Replica::<E>::new(&descriptor(schema.clone()));
    let first = item(&[("p", "a"), ("s", "1"), ("x", "one")]);
    let evaluated = replica.write(&put(&schema, &first));
    assert!(matches!(evaluated, Evaluated::Changed { .. }));
    let done = reply(evaluated);
    assert_eq!(done.cost.table, HalfUnits(2));
    assert_eq!((done.attributes, done.collection_bytes), (None, None));
    let stored = replica.get(&schema, &first).unwrap();
    assert_eq!(timeless(&stored), first);
    assert_eq!(stored.as_ref().time(), NOW_MS << 16);

    // The same again changes nothing, and costs.
    let mut again = put(&schema, &first);
    again.return_values = ReturnValues::AllOld;
    let evaluated = replica.write(&again);
    assert!(matches!(evaluated, Evaluated::Unchanged { .. }));
    let done = reply(evaluated);
    assert_eq!(done.cost.table, HalfUnits(2));
    assert_eq!(timeless(&done.attributes.unwrap()), first);

    // The larger of old and new is what a write costs; reads cost by the whole item.
    let large = item(&[("p", "a"), ("s", "1"), ("x", &"x".repeat(5000))]);
    assert_eq!(reply(replica.write(&put(&schema, &large))).cost.table, HalfUnits(10));
    let request = partita_model::request::GetRequest {
        table: schema.id,
        schema_version: schema.version,
        key: primary(&schema, &first),
        consistent: true,
        projection: Some(Projection::attributes(["p"])),
    };
    let found = replica.partition.reader.get(&request, Tier::All).unwrap();
    assert_eq!(
        (timeless(&found.item.unwrap()), found.cost.0),
        (item(&[("p", "a")]), HalfUnits(4))
    );
    assert_eq!(reply(replica.write(&put(&schema, &first))).cost.table, HalfUnits(10));
    let counters = replica.partition.reader.applied().counters;
    assert_eq!((counters.items, counters.bytes), (1, first.as_ref().size()));
    replica.verify();

    // Deletes; a second one finds nothing.
    let evaluated = replica.write(&delete(&schema, &item(&[("p", "a"), ("s", "1")])));
    assert!(matches!(evaluated, Evaluated::Changed { .. }));
    assert_eq!(replica.get(&schema, &first), None);
    let evaluated = replica.write(&delete(&schema, &item(&[("p", "a"), ("s", "1")])));
    assert!(matches!(evaluated, Evaluated::Unchanged { .. }));
    assert_eq!(reply(evaluated).cost.table, HalfUnits(2));
    assert_eq!(replica.partition.reader.applied().counters.items, 0);
    replica.verify();

    // Other tables, schemas and ranges.
    let mut other = put(&schema, &first);
    other.table = partita_model::schema::TableId(8);
    assert_eq!(replica.propose(&other).unwrap_err(), Refusal::WrongRange.into());
    let mut other = put(&schema, &first);
    other.schema_version = SchemaVersion(0);
    assert_eq!(replica.propose(&other).unwrap_err(), Refusal::StaleSchema.into());
    let mut cut = descriptor(schema.clone());
    cut.end = Some(primary(&schema, &first));
    let mut replica = Replica::<E>::new(&cut);
    assert_eq!(
        replica.propose(&put(&schema, &first)).unwrap_err(),
        Refusal::WrongRange.into()
    );
    assert!(replica.partition.reader.get(&request, Tier::All).is_err());
}

fn conditions_and_updates<E: Engine>() {
    let schema = schema();
    let mut replica = Replica::<E>::new(&descriptor(schema.clone()));
    let key = item(&[("p", "a"), ("s", "1")]);
    let first = with(&key, "n", &number(5));
    let mut create = put(&schema, &first);
    create.condition = condition("attribute_not_exists(p)", &[]);
    create.return_item_on_failure = true;
    assert!(matches!(replica.write(&create), Evaluated::Changed { .. }));
    let Evaluated::Refused { error, cost } = replica.write(&create) else {
        panic!("the condition does not hold");
    };
    assert_eq!(error.code, ErrorCode::ConditionalCheckFailed);
    assert_eq!(error.message, "The conditional request failed");
    assert_eq!(timeless(&error.item.unwrap()), first);
    assert_eq!(cost.table, HalfUnits(2));

    let add = updating(
        "ADD n :one SET x = :x",
        &[(":one", number(1)), (":x", Value::string("new"))],
    );
    let mut request = update(&schema, &key, add);
    request.return_values = ReturnValues::UpdatedNew;
    let attributes = reply(replica.write(&request)).attributes.unwrap();
    assert_eq!(timeless(&attributes), with(&item(&[("x", "new")]), "n", &number(6)));
    request.return_values = ReturnValues::UpdatedOld;
    let attributes = reply(replica.write(&request)).attributes.unwrap();
    assert_eq!(timeless(&attributes), with(&item(&[("x", "new")]), "n", &number(6)));
    request.return_values = ReturnValues::AllNew;
    let attributes = reply(replica.write(&request)).attributes.unwrap();
    let all = with(&with(&key, "x", &Value::string("new")), "n", &number(8));
    assert_eq!(timeless(&attributes), all);

    // An update makes the item if there is none, also one that does nothing; a faulty one is refused.
    let other = item(&[("p", "b"), ("s", "1")]);
    replica.write(&update(&schema, &other, Update::nothing()));
    assert_eq!(timeless(&replica.get(&schema, &other).unwrap()), other);
    let faulty = updating("ADD p2.q :one", &[(":one", number(1))]);
    let Evaluated::Refused { error, .. } = replica.write(&update(&schema, &other, faulty)) else {
        panic!("the path does not exist");
    };
    assert_eq!(error.code, ErrorCode::Validation);
    replica.verify();
}

fn effects_in_flight<E: Engine>() {
    let schema = schema();
    let mut replica = Replica::<E>::new(&descriptor(schema.clone()));
    let key = item(&[("p", "a"), ("s", "1")]);
    let add = || update(&schema, &key, updating("ADD n :one", &[(":one", number(1))]));
    for _ in 0..3 {
        replica.propose(&add()).unwrap();
    }
    assert_eq!(replica.get(&schema, &key), None, "nothing is applied yet");
    replica.commit();
    let stored = replica.get(&schema, &key).unwrap();
    assert_eq!(timeless(&stored), with(&key, "n", &number(3)));
    // A refused proposal takes back what came after it, and the next one starts from before.
    replica.propose(&add()).unwrap();
    replica.propose(&add()).unwrap();
    let refused = replica.pending.pop().unwrap();
    replica.partition.evaluator.discard_from(refused.sequence);
    let Evaluated::Changed { effect, .. } = replica.propose(&add()).unwrap() else {
        panic!("an update");
    };
    assert!(effect.sequence > refused.sequence);
    replica.commit();
    let again = replica.get(&schema, &key).unwrap();
    assert_eq!(timeless(&again), with(&key, "n", &number(5)));
    assert!(again.as_ref().time() > stored.as_ref().time());
    // A clock that stands still or goes back does not.
    replica.now_ms -= 1000;
    replica.write(&add());
    assert!(replica.get(&schema, &key).unwrap().as_ref().time() > again.as_ref().time());
    replica.verify();
}

fn pages<E: Engine>() {
    let schema = schema();
    let mut replica = Replica::<E>::new(&descriptor(schema.clone()));
    let items: Vec<Item> = (0..10)
        .map(|n| {
            item(&[
                ("p", "a"),
                ("s", &n.to_string()),
                ("x", &"x".repeat(100)),
                ("odd", ["no", "yes"][n % 2]),
            ])
        })
        .collect();
    for item in &items {
        replica.propose(&put(&schema, item)).unwrap();
    }
    replica.commit();
    let found = |request: &_| {
        let page = replica.page(request);
        let sorts: Vec<String> = page
            .items
            .iter()
            .map(|item| item.as_ref().get("s").unwrap().as_str().unwrap().to_owned())
            .collect();
        (sorts.concat(), page)
    };
    let all = scan(&schema, Target::Table);
    let (sorts, page) = found(&all);
    assert_eq!((sorts.as_str(), page.count, page.scanned), ("0123456789", 10, 10));
    assert_eq!(page.bytes, items.iter().map(|item| item.as_ref().size()).sum::<u64>());
    assert_eq!(page.last, None);

    // A limit ends the page, and what it ended with starts the next one.
    let mut request = all.clone();
    request.limit = Some(4);
    let (sorts, page) = found(&request);
    assert_eq!(sorts, "0123");
    let (key, key_item) = page.last.unwrap();
    assert_eq!(key, primary(&schema, &items[3]));
    assert_eq!(timeless(&key_item), item(&[("p", "a"), ("s", "3")]));
    request.range.0 = Bound::Excluded(key);
    assert_eq!(found(&request).0, "4567");
    let mut request = all.clone();
    request.reverse = true;
    request.limit = Some(3);
    let (sorts, page) = found(&request);
    assert_eq!(sorts, "987");
    request.range.1 = Bound::Excluded(page.last.unwrap().0);
    assert_eq!(found(&request).0, "654");

    // So do bytes: behind the row that reaches them.
    let mut request = all.clone();
    request.bytes_max = items[0].as_ref().size() as u32 + 1;
    let (sorts, page) = found(&request);
    assert_eq!((sorts.as_str(), page.last.is_some()), ("01", true));

    // Filters come after limits; counting returns no items.
    let mut request = all.clone();
    request.filter = condition("odd = :yes", &[(":yes", Value::string("yes"))]);
    request.limit = Some(5);
    let (sorts, page) = found(&request);
    assert_eq!((sorts.as_str(), page.count, page.scanned), ("13", 2, 5));
    request.count_only = true;
    let (sorts, page) = found(&request);
    assert_eq!((sorts.as_str(), page.count, page.scanned), ("", 2, 5));
    let mut request = all.clone();
    request.projection = Some(Projection::attributes(["s"]));
    request.limit = Some(1);
    assert_eq!(timeless(&replica.page(&request).items[0]), item(&[("s", "0")]));

    // Only this partition's range.
    let mut request = all;
    request.range = (
        Bound::Included(primary(&schema, &items[3])),
        Bound::Included(primary(&schema, &items[5])),
    );
    assert_eq!(found(&request).0, "345");
    request.table = partita_model::schema::TableId(9);
    let refused = replica.partition.reader.page(&request, Tier::All).unwrap_err();
    assert_eq!(refused, Refusal::WrongRange.into());
}

fn local_indexes<E: Engine>() {
    let mut schema = schema();
    schema.local = vec![
        local(1, "l", IndexProjection::KeysOnly),
        local(2, "m", IndexProjection::Include(vec!["x".to_owned()])),
    ];
    let mut replica = Replica::<E>::new(&descriptor(schema.clone()));
    let index = |id| Target::Local(IndexId(id));
    let full = item(&[
        ("p", "a"),
        ("s", "1"),
        ("l", "z"),
        ("m", "1"),
        ("x", "one"),
        ("y", "two"),
    ]);
    let done = reply(replica.write(&put(&schema, &full)));
    let two = HalfUnits(2);
    assert_eq!(done.cost.local, [(IndexId(1), two), (IndexId(2), two)]);
    let keys_only = item(&[("p", "a"), ("s", "1"), ("l", "z")]);
    let included = item(&[("p", "a"), ("s", "1"), ("m", "1"), ("x", "one")]);
    let size = |item: &Item| item.as_ref().size();
    assert_eq!(
        done.collection_bytes,
        Some(size(&full) + size(&keys_only) + size(&included))
    );
    let second = item(&[("p", "a"), ("s", "2"), ("l", "b")]);
    assert_eq!(
        reply(replica.write(&put(&schema, &second))).cost.local,
        [(IndexId(1), two)]
    );
    let page = replica.page(&scan(&schema, index(1)));
    assert_eq!(
        page.scanned, 2,
        "neither the other index's rows nor the collection's size are rows of this one"
    );
    let rows: Vec<Item> = page.items.iter().map(timeless).collect();
    assert_eq!(rows, [second.clone(), keys_only]);

    // Only what changes in an index is written and paid: nothing, a projected attribute, the key, the row's end.
    let cost = |replica: &mut Replica<E>, item: &Item| reply(replica.write(&put(&schema, item))).cost.local;
    let changed = with(&full, "y", &Value::string("other"));
    assert_eq!(cost(&mut replica, &changed), []);
    let changed = with(&changed, "x", &Value::string("other"));
    assert_eq!(cost(&mut replica, &changed), [(IndexId(2), two)]);
    let changed = with(&changed, "l", &Value::string("c"));
    assert_eq!(cost(&mut replica, &changed), [(IndexId(1), HalfUnits(4))]);
    replica.verify();

    // Pages with whole items, and where they go on.
    let mut request = scan(&schema, index(1));
    request.fetch_from_table = true;
    let page = replica.page(&request);
    assert_eq!(timeless(&page.items[1]), changed);
    assert_eq!(page.fetch_half_units, 4);
    // The first row's whole item fills the page although the row does not.
    request.bytes_max = u32::try_from(size(&second) + 1).unwrap();
    assert_eq!(replica.page(&request).scanned, 1);
    request.bytes_max = 1 << 20;
    request.limit = Some(1);
    request.reverse = true;
    let (key, key_item) = replica.page(&request).last.unwrap();
    assert_eq!(timeless(&key_item), item(&[("p", "a"), ("s", "1"), ("l", "c")]));
    request.range.1 = Bound::Excluded(key);
    assert_eq!(timeless(&replica.page(&request).items[0]), second);

    let done = reply(replica.write(&delete(&schema, &item(&[("p", "a"), ("s", "1")]))));
    assert_eq!(done.cost.local, [(IndexId(1), two), (IndexId(2), two)]);
    let done = reply(replica.write(&delete(&schema, &item(&[("p", "a"), ("s", "2")]))));
    assert_eq!(done.collection_bytes, Some(0));
    replica.verify();
}

fn change_log<E: Engine>() {
    let mut schema = schema();
    schema.stream = Some(StreamView::NewAndOldImages);
    let mut replica = Replica::<E>::new(&descriptor(schema.clone()));
    let first = item(&[("p", "a"), ("s", "1"), ("x", "one")]);
    let second = item(&[("p", "a"), ("s", "1"), ("x", "two")]);
    replica.write(&put(&schema, &first));
    replica.write(&put(&schema, &second));
    replica.write(&put(&schema, &second));
    replica.write(&delete(&schema, &item(&[("p", "a"), ("s", "1")])));
    let changes = |replica: &Replica<E>, after, max| replica.partition.reader.changes(after, max, 1 << 20).unwrap();
    let records = changes(&replica, ItemTime::default(), 100);
    let kinds: Vec<ChangeKind> = records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [ChangeKind::Insert, ChangeKind::Modify, ChangeKind::Remove]);
    assert!(records.is_sorted_by(|a, b| a.time < b.time));
    let images: Vec<_> = records
        .iter()
        .map(|record| (record.old.as_ref().map(timeless), record.new.as_ref().map(timeless)))
        .collect();
    assert_eq!(images[0], (None, Some(first.clone())));
    assert_eq!(images[1], (Some(first), Some(second.clone())));
    assert_eq!(images[2], (Some(second), None));
    assert!(
        records
            .iter()
            .all(|r| r.streamed && timeless(&r.keys) == item(&[("p", "a"), ("s", "1")]))
    );
    assert_eq!(changes(&replica, records[0].time, 1), records[1..2]);
    // Trimming is idempotent and goes up to and including a time.
    let trim = Command::TrimChanges {
        through: records[1].time,
    };
    for _ in 0..2 {
        assert_eq!(replica.command(&trim).unwrap(), CommandReply::Done);
        assert_eq!(changes(&replica, ItemTime::default(), 100), records[2..]);
    }
    assert_eq!(replica.log.len(), 4);
    assert_eq!(replica.partition.reader.applied().counters.trimmed, records[1].time);
}

fn row(time: u64, key: &str, change: RowChange) -> IndexRow {
    IndexRow {
        time: ItemTime(time),
        key: partita_model::key::KeyBytes(key.as_bytes().to_vec()),
        change,
    }
}

fn global_index_rows<E: Engine>() {
    let schema = schema();
    let index = global(4, "g", IndexProjection::All);
    let mut replica = Replica::<E>::new(&PartitionDescriptor::whole_index(GroupId(5), &schema, index));
    let source = GroupId(3);
    let session = |term| Session { range_epoch: 1, term };
    let batch = |term, rows: Vec<IndexRow>, through| {
        Command::Deliver(IndexBatch {
            source,
            session: session(term),
            rows,
            through: ItemTime(through),
        })
    };
    let delivered = |term, through| Delivered {
        session: session(term),
        through: ItemTime(through),
    };
    let one = item(&[("p", "a"), ("s", "1"), ("g", "x")]);
    let two = item(&[("p", "a"), ("s", "1"), ("g", "x"), ("more", "text")]);
    let rows = vec![
        row(10, "k", RowChange::Put(one.clone())),
        row(11, "k", RowChange::Put(two.clone())),
        row(12, "l", RowChange::Put(one.clone())),
        row(13, "l", RowChange::Delete),
        row(14, "m", RowChange::Delete),
    ];
    let done = replica.command(&batch(2, rows.clone(), 14)).unwrap();
    assert_eq!(done, CommandReply::Delivered(delivered(2, 14)));
    let counters = replica.partition.reader.applied().counters;
    assert_eq!((counters.items, counters.bytes), (1, two.as_ref().size()));
    // The same again, a late part of it, an older session: nothing changes.
    for (again, expected) in [
        (batch(2, rows.clone(), 14), CommandReply::Delivered(delivered(2, 14))),
        (
            batch(2, rows[..1].to_vec(), 10),
            CommandReply::Delivered(delivered(2, 14)),
        ),
        (
            batch(1, vec![row(20, "ghost", RowChange::Put(one.clone()))], 20),
            CommandReply::OldSession(delivered(2, 14)),
        ),
    ] {
        assert_eq!(replica.command(&again).unwrap(), expected);
    }
    assert_eq!(replica.log.len(), 1);
    // A new session takes over where the position is.
    let more = batch(
        3,
        vec![
            row(14, "m", RowChange::Put(one.clone())),
            row(15, "n", RowChange::Put(one)),
        ],
        16,
    );
    assert_eq!(
        replica.command(&more).unwrap(),
        CommandReply::Delivered(delivered(3, 16))
    );
    assert_eq!(
        replica.partition.reader.position(source).unwrap(),
        Some(delivered(3, 16))
    );
    assert_eq!(replica.partition.reader.position(GroupId(9)).unwrap(), None);
    assert_eq!(replica.partition.reader.applied().counters.items, 2);
    replica.verify();
    let mut request = scan(&schema, Target::Global(IndexId(4)));
    request.limit = Some(1);
    let page = replica.page(&request);
    assert_eq!(timeless(&page.items[0]), two);
    assert_eq!(
        timeless(&page.last.unwrap().1),
        item(&[("p", "a"), ("s", "1"), ("g", "x")])
    );
    // Writes and other tables' pages have no business here.
    assert_eq!(
        replica.propose(&put(&schema, &two)).unwrap_err(),
        Refusal::WrongRange.into()
    );
    assert!(
        replica
            .partition
            .reader
            .page(&scan(&schema, Target::Table), Tier::All)
            .is_err()
    );
}

fn newer(schema: &TableSchema, change: impl FnOnce(&mut TableSchema)) -> TableSchema {
    let mut schema = schema.clone();
    schema.version.0 += 1;
    change(&mut schema);
    schema
}

fn backfill<E: Engine>() {
    let old = schema();
    let mut replica = Replica::<E>::new(&descriptor(old.clone()));
    for n in 0..5 {
        let item = item(&[("p", "a"), ("s", &n.to_string()), ("g", &n.to_string()), ("x", "1")]);
        replica.propose(&put(&old, &item)).unwrap();
    }
    replica.propose(&put(&old, &item(&[("p", "a"), ("s", "9")]))).unwrap();
    replica.commit();
    let step = |after| Command::Backfill {
        index: IndexId(4),
        after,
        rows_max: 3,
        bytes_max: 1 << 20,
    };
    assert_eq!(replica.command(&step(None)).unwrap_err(), Refusal::StaleSchema.into());
    let schema = newer(&old, |schema| {
        schema.global = vec![global(4, "g", IndexProjection::Include(vec!["x".to_owned()]))];
    });
    assert_eq!(
        replica.command(&Command::SetSchema(Arc::new(schema.clone()))).unwrap(),
        CommandReply::Done
    );
    // A write in flight: the backfill's row is what the item will be.
    let changed = item(&[("p", "a"), ("s", "0"), ("g", "0"), ("x", "1"), ("y", "not projected")]);
    replica.propose(&put(&schema, &changed)).unwrap();
    replica
        .propose(&delete(&schema, &item(&[("p", "a"), ("s", "1")])))
        .unwrap();
    let CommandReply::Progress { next, rows } = replica.command(&step(None)).unwrap() else {
        panic!("a walk");
    };
    assert_eq!(rows, 3);
    let CommandReply::Progress { next, rows } = replica.command(&step(next)).unwrap() else {
        panic!("a walk");
    };
    // Item 1 is gone by now: 3, 4 and 9.
    assert_eq!((rows, next.is_some()), (3, true));
    let done = replica.command(&step(next)).unwrap();
    assert_eq!(done, CommandReply::Progress { next: None, rows: 0 });
    let records = replica
        .partition
        .reader
        .changes(ItemTime::default(), 100, 1 << 20)
        .unwrap();
    let told: Vec<(ChangeKind, bool)> = records
        .iter()
        .map(|r| (r.kind, matches!(r.rows[0].2, RowChange::Put(_))))
        .collect();
    let put = (ChangeKind::Backfill, true);
    assert_eq!(told, [(ChangeKind::Remove, false), put, put, put, put]);
    let RowChange::Put(row) = &records[1].rows[0].2 else {
        panic!("a put");
    };
    assert_eq!(timeless(row), item(&[("p", "a"), ("s", "0"), ("g", "0"), ("x", "1")]));
    replica.verify();
}

fn time_to_live<E: Engine>() {
    let old = schema();
    let mut replica = Replica::<E>::new(&descriptor(old.clone()));
    let now_s = NOW_MS / 1000;
    let expiring = |sort: &str, at: i64| with(&item(&[("p", "a"), ("s", sort)]), "ttl", &number(at));
    let five_years = 5 * 365 * 24 * 60 * 60;
    for item in [
        expiring("1", now_s as i64 - 10),
        expiring("2", now_s as i64 + 10),
        expiring("3", now_s as i64 - five_years - 1),
        expiring("4", -1),
        item(&[("p", "a"), ("s", "5"), ("ttl", "text")]),
    ] {
        replica.propose(&put(&old, &item)).unwrap();
    }
    replica.commit();
    let schema = newer(&old, |schema| schema.time_to_live = Some("ttl".to_owned()));
    replica.command(&Command::SetSchema(Arc::new(schema.clone()))).unwrap();
    assert_eq!(replica.partition.reader.expired(now_s, 10).unwrap(), []);
    let mut after = None;
    loop {
        let step = Command::IndexExpiry { after, rows_max: 2 };
        let CommandReply::Progress { next, .. } = replica.command(&step).unwrap() else {
            panic!("a walk");
        };
        after = next;
        if after.is_none() {
            break;
        }
    }
    replica.verify();
    let expired = replica.partition.reader.expired(now_s, 10).unwrap();
    let key = item(&[("p", "a"), ("s", "1")]);
    assert_eq!(expired.len(), 1);
    assert_eq!(
        (&expired[0].0, timeless(&expired[0].1)),
        (&primary(&schema, &key), key.clone())
    );
    assert_eq!(replica.partition.reader.expired(now_s + 10, 10).unwrap().len(), 2);

    // The sweeper's delete looks again: an item that lives longer now stays.
    let mut sweep = delete(&schema, &key);
    sweep.origin = Origin::TimeToLive;
    replica.write(&put(&schema, &expiring("1", now_s as i64 + 1)));
    let Evaluated::Refused { error, cost } = replica.write(&sweep) else {
        panic!("not expired");
    };
    assert_eq!(
        (error.code, cost.table),
        (ErrorCode::ConditionalCheckFailed, HalfUnits(0))
    );
    replica.now_ms += 1000;
    assert_eq!(reply(replica.write(&sweep)).cost.table, HalfUnits(0));
    assert_eq!(replica.get(&schema, &key), None);
    replica.verify();

    // Switched off: the rows go.
    let off = newer(&schema, |schema| schema.time_to_live = None);
    replica.command(&Command::SetSchema(Arc::new(off))).unwrap();
    let mut steps = 0;
    let mut after = None;
    loop {
        let step = Command::DropExpiry { after, rows_max: 1 };
        let CommandReply::Progress { next, .. } = replica.command(&step).unwrap() else {
            panic!("a walk");
        };
        after = next;
        steps += 1;
        if after.is_none() {
            break;
        }
    }
    assert!(steps > 1);
    replica.verify();
}

fn schema_changes<E: Engine>() {
    let old = schema();
    let mut replica = Replica::<E>::new(&descriptor(old.clone()));
    let set = |schema: &TableSchema| Command::SetSchema(Arc::new(schema.clone()));
    assert_eq!(replica.command(&set(&old)).unwrap(), CommandReply::Done);
    assert!(replica.log.is_empty());
    let foreign = newer(&old, |schema| schema.keys = keys("p", "other"));
    assert_eq!(
        replica.command(&set(&foreign)).unwrap_err(),
        Refusal::StaleSchema.into()
    );
    // In flight, a new schema is what the next write is evaluated with; a refused proposal takes it back.
    let new = newer(&old, |schema| schema.stream = Some(StreamView::KeysOnly));
    let first = item(&[("p", "a"), ("s", "1")]);
    let (effect, _) = replica
        .partition
        .evaluator
        .command(&set(&new), NOW_MS, Tier::All)
        .unwrap();
    let effect = effect.unwrap();
    assert_eq!(
        replica.propose(&put(&old, &first)).unwrap_err(),
        Refusal::StaleSchema.into()
    );
    replica.partition.evaluator.discard_from(effect.sequence);
    assert_eq!(
        replica.partition.reader.descriptor().schema().unwrap().version,
        old.version
    );
    replica.propose(&put(&old, &first)).unwrap();
    replica.command(&set(&new)).unwrap();
    assert_eq!(
        replica.partition.reader.descriptor().schema().unwrap().version,
        new.version
    );
    replica.write(&put(&new, &item(&[("p", "a"), ("s", "2")])));
    assert_eq!(
        replica
            .partition
            .reader
            .changes(ItemTime::default(), 9, 1 << 20)
            .unwrap()
            .len(),
        1
    );
    assert_eq!(replica.command(&set(&old)).unwrap_err(), Refusal::StaleSchema.into());
    replica.crash();
    assert_eq!(
        replica.partition.reader.descriptor().schema().unwrap().version,
        new.version
    );
    replica.write(&put(&new, &item(&[("p", "a"), ("s", "3")])));
    replica.verify();
}

fn count_rows<S: Storage>(storage: &S) -> usize {
    let mut rows = 0;
    for family in Family::ALL {
        let mut cursor = storage
            .scan(family, (Bound::Unbounded, Bound::Unbounded), false, Tier::All)
            .unwrap();
        while cursor.next().unwrap().is_some() {
            rows += 1;
        }
    }
    rows
}

fn crash_and_destroy<E: Engine>() {
    let mut schema = schema();
    schema.local = vec![local(1, "l", IndexProjection::All)];
    schema.global = vec![global(4, "g", IndexProjection::All)];
    schema.time_to_live = Some("ttl".to_owned());
    let descriptor = descriptor(schema.clone());
    let mut replica = Replica::<E>::new(&descriptor);
    for n in 0..10i64 {
        let item = item(&[("p", "a"), ("s", &n.to_string()), ("l", "l"), ("g", "g")]);
        replica.write(&put(&schema, &with(&item, "ttl", &number(1000 + n))));
        if n == 4 {
            replica.partition.reader.storage().flush().unwrap();
        }
    }
    let at = |index| LogPosition { index, term: 1 };
    assert_eq!(replica.partition.reader.flushed_at().unwrap(), at(5));
    assert_eq!(replica.partition.reader.applied().at, at(10));
    let before = replica.partition.reader.applied();
    replica.crash();
    assert_eq!(replica.partition.reader.applied(), before);
    replica.verify();
    // Times go on above the ones before.
    let last = replica
        .partition
        .reader
        .changes(ItemTime::default(), 100, 1 << 20)
        .unwrap()
        .pop()
        .unwrap();
    replica.write(&delete(&schema, &item(&[("p", "a"), ("s", "3")])));
    assert_eq!(
        replica.partition.reader.changes(last.time, 100, 1 << 20).unwrap().len(),
        1
    );

    // Another table of the store is left alone when this one is destroyed.
    let storage = Arc::clone(replica.partition.reader.storage());
    let mut neighbour = descriptor.clone();
    neighbour.table.0 += 1;
    neighbour.group.0 += 1;
    let mut batch = storage.batch();
    Partition::<E::Storage>::create(&mut batch, &neighbour).unwrap();
    storage.write(batch).unwrap();
    assert_eq!(Partition::list(&*storage).unwrap(), [descriptor.clone(), neighbour]);
    let mut batch = storage.batch();
    Partition::destroy(&*storage, &mut batch, &descriptor).unwrap();
    storage.write(batch).unwrap();
    assert_eq!(Partition::list(&*storage).unwrap().len(), 1);
    assert_eq!(count_rows(&*storage), 2);
    assert!(
        Partition::open(storage, descriptor.table, descriptor.group)
            .unwrap()
            .is_none()
    );
}

#[test]
fn cold_rows_are_told_and_warmed() {
    let schema = schema();
    let mut replica = Replica::<Rocks>::new(&descriptor(schema.clone()));
    let first = item(&[("p", "a"), ("s", "1")]);
    replica.write(&put(&schema, &first));
    replica.partition.reader.storage().flush().unwrap();
    replica.crash();
    let request = put(&schema, &item(&[("p", "a"), ("s", "1"), ("x", "2")]));
    let cold = replica
        .partition
        .evaluator
        .evaluate(&request, NOW_MS, Tier::BlockCacheOnly);
    assert_eq!(cold.unwrap_err(), PartitionError::NotCached);
    assert_eq!(replica.partition.evaluator.last_sequence(), 0);
    replica.partition.reader.warm(&request).unwrap();
    let warm = replica
        .partition
        .evaluator
        .evaluate(&request, NOW_MS, Tier::BlockCacheOnly);
    assert!(matches!(warm, Ok(Evaluated::Changed { .. })));
}
