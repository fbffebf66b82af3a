//! An operation of each kind, and its answers.

use std::ops::Bound;
use std::sync::Arc;

use partita_model::capacity::{
    HalfUnits, ReadCost, UnitKind, UnitsAnswer, UnitsCall, UnitsGrant, UnitsId, UnitsLevel, UnitsPeak, UnitsReport,
    WriteCost,
};
use partita_model::error::{ApiError, ErrorCode};
use partita_model::expression::{Condition, Kind, Placeholders, Projection, Update};
use partita_model::item::Item;
use partita_model::key::KeyBytes;
use partita_model::request::{
    Action, GetReply, GetRequest, Origin, PageReply, PageRequest, Refusal, ReturnValues, Target, WriteReply,
    WriteRequest,
};
use partita_model::schema::{IndexId, KeyAttribute, KeySchema, ScalarType, SchemaVersion, TableId, TableSchema};
use partita_model::value::Value;
use partita_partition::command::{Command, CommandReply, Delivered, IndexBatch, IndexRow, RowChange, Session};
use partita_partition::descriptor::{GroupId, ItemTime, LogPosition, PartitionDescriptor};
use partita_partition::reader::{Counters, LocalCount};
use partita_transport::{Answer, GroupLeader, GroupStats, Operation, Reason, Refused, Reply};

pub fn item(bytes: usize) -> Item {
    let (key, text) = (Value::string("key"), Value::string(&"x".repeat(bytes)));
    let mut item = Item::from_attributes([("k", key.as_ref()), ("text", text.as_ref())]);
    item.set_time(77);
    item
}

pub fn key(byte: u8) -> KeyBytes {
    KeyBytes(vec![byte; 12])
}

pub fn get(byte: u8) -> GetRequest {
    GetRequest {
        table: TableId(1),
        schema_version: SchemaVersion(2),
        key: key(byte),
        consistent: true,
        projection: Some(Projection::attributes(["k", "text"])),
    }
}

pub fn write(action: Action) -> WriteRequest {
    let value = Value::string("y");
    let values = Placeholders::new(None::<[(&str, &str); 0]>, Some([(":v", Ok(value.as_ref()))])).unwrap();
    let condition = Condition::parse(Kind::Condition, "a.b[1] = :v OR NOT attribute_exists(k)", &values).unwrap();
    WriteRequest {
        table: TableId(1),
        schema_version: SchemaVersion(2),
        key: key(9),
        action,
        condition: Some(condition),
        return_values: ReturnValues::AllOld,
        return_item_on_failure: true,
        origin: Origin::Client,
    }
}

pub fn put(bytes: usize) -> WriteRequest {
    write(Action::Put(item(bytes)))
}

fn update() -> Update {
    let value = Value::string("y");
    let values = Placeholders::new(None::<[(&str, &str); 0]>, Some([(":v", Ok(value.as_ref()))])).unwrap();
    Update::parse("SET a = if_not_exists(b, :v) REMOVE c[3]", &values).unwrap()
}

pub fn page() -> PageRequest {
    PageRequest {
        table: TableId(1),
        schema_version: SchemaVersion(2),
        target: Target::Local(IndexId(3)),
        range: (Bound::Excluded(key(1)), Bound::Unbounded),
        reverse: true,
        limit: Some(10),
        bytes_max: 1 << 20,
        consistent: false,
        filter: None,
        projection: None,
        count_only: false,
        fetch_from_table: true,
    }
}

pub fn page_reply(items: usize, bytes: usize) -> PageReply {
    PageReply {
        items: vec![item(bytes); items],
        count: items as u32,
        scanned: items as u32 + 1,
        bytes: (items * bytes) as u64,
        fetch_half_units: 3,
        last: Some((key(4), item(1))),
    }
}

pub fn get_reply(bytes: usize) -> Reply {
    Ok(Answer::Get(GetReply {
        item: Some(item(bytes)),
        cost: ReadCost(HalfUnits(2)),
    }))
}

pub fn write_reply() -> Reply {
    Ok(Answer::Write(WriteReply {
        attributes: Some(item(3)),
        cost: WriteCost {
            table: HalfUnits(2),
            local: vec![(IndexId(1), HalfUnits(4))],
            global: Vec::new(),
        },
        collection_bytes: Some(1 << 40),
    }))
}

fn schema() -> Arc<TableSchema> {
    let hash = KeyAttribute {
        name: "k".to_owned(),
        kind: ScalarType::S,
    };
    Arc::new(TableSchema {
        id: TableId(1),
        seed: 5,
        version: SchemaVersion(2),
        name: "Things".to_owned(),
        keys: KeySchema {
            hash: vec![hash],
            range: Vec::new(),
        },
        local: Vec::new(),
        global: Vec::new(),
        time_to_live: Some("expires".to_owned()),
        stream: None,
    })
}

pub fn descriptor() -> PartitionDescriptor {
    PartitionDescriptor {
        start: key(2),
        end: Some(key(3)),
        range_epoch: 7,
        ..PartitionDescriptor::whole_table(GroupId(1 << 60), schema())
    }
}

fn delivered() -> Delivered {
    Delivered {
        session: Session {
            range_epoch: 1,
            term: 2,
        },
        through: ItemTime(3),
    }
}

fn delivery() -> Command {
    let row = |byte, change| IndexRow {
        time: ItemTime(8),
        key: key(byte),
        change,
    };
    Command::Deliver(IndexBatch {
        source: GroupId(4),
        session: delivered().session,
        rows: vec![row(1, RowChange::Put(item(20))), row(2, RowChange::Delete)],
        through: ItemTime(9),
    })
}

/// An operation of each kind with one of its answers.
pub fn calls() -> Vec<(&'static str, Operation, Reply)> {
    let deleted = Action::Delete { key: item(0) };
    let updated = Action::Update {
        key: item(0),
        update: update(),
    };
    let refused = |reason: Reason, known| Err(Refused { reason, known });
    let command = |reply| Ok(Answer::Command(reply));
    let progress = CommandReply::Progress {
        next: Some(key(5)),
        rows: 6,
    };
    let stats = GroupStats {
        leader: true,
        term: 3,
        applied: LogPosition { index: 9, term: 3 },
        schema_version: SchemaVersion(2),
        counters: Counters {
            items: 1,
            bytes: 2,
            local: vec![LocalCount {
                index: IndexId(1),
                rows: 3,
                bytes: 4,
            }],
            clock: ItemTime(5),
            trimmed: ItemTime(6),
        },
        in_flight: 7,
    };
    let conditional = ApiError {
        item: Some(Box::new(item(5))),
        ..ApiError::new(ErrorCode::ConditionalCheckFailed, "The conditional request failed")
    };
    let backfill = Command::Backfill {
        index: IndexId(2),
        after: None,
        rows_max: 10,
        bytes_max: 20,
    };
    vec![
        ("get", Operation::Get(get(1)), get_reply(10)),
        ("put", Operation::Write(put(10)), write_reply()),
        (
            "update",
            Operation::Write(write(updated)),
            refused(Refusal::Api(conditional).into(), Vec::new()),
        ),
        (
            "delete",
            Operation::Write(write(deleted)),
            refused(Refusal::WrongRange.into(), vec![descriptor()]),
        ),
        ("page", Operation::Page(page()), Ok(Answer::Page(page_reply(2, 10)))),
        (
            "deliver",
            Operation::Command(delivery()),
            command(CommandReply::Delivered(delivered())),
        ),
        (
            "schema",
            Operation::Command(Command::SetSchema(schema())),
            command(CommandReply::Done),
        ),
        ("backfill", Operation::Command(backfill), command(progress)),
        (
            "position",
            Operation::Position(GroupId(8)),
            Ok(Answer::Position(Some(delivered()))),
        ),
        ("stats", Operation::Stats, Ok(Answer::Stats(stats))),
        (
            "describe",
            Operation::Describe(TableId(1)),
            Ok(Answer::Describe(vec![descriptor()])),
        ),
        (
            "nowhere",
            Operation::Stats,
            refused(Reason::UnknownGroup, vec![descriptor()]),
        ),
        (
            "leader",
            Operation::Leader,
            Ok(Answer::Leader(GroupLeader {
                term: 3,
                leads: false,
                leader: Some("a:1".to_owned()),
                members: vec!["a:1".to_owned(), "b:1".to_owned()],
            })),
        ),
        (
            "units",
            Operation::Units(
                TableId(1),
                UnitsCall::Report {
                    holder: 7,
                    reports: vec![UnitsReport {
                        units: WRITES_OF_INDEX,
                        used: HalfUnits(5),
                        wanted: HalfUnits(600),
                        number: 9,
                    }],
                },
            ),
            Ok(Answer::Units(UnitsAnswer::Grants(vec![UnitsGrant {
                units: WRITES_OF_INDEX,
                granted: HalfUnits(300),
            }]))),
        ),
        (
            "levels of units",
            Operation::Units(TableId(1), UnitsCall::Levels(vec![level()])),
            Ok(Answer::Units(UnitsAnswer::Heard)),
        ),
        (
            "question for levels",
            Operation::Units(TableId(1), UnitsCall::Ask),
            Ok(Answer::Units(UnitsAnswer::Levels(vec![level()]))),
        ),
        (
            "further part of a page",
            Operation::Further(page(), 5000),
            Ok(Answer::Page(page_reply(2, 10))),
        ),
        (
            "corrupt",
            Operation::Stats,
            refused(Refusal::Corrupt("a file".to_owned()).into(), Vec::new()),
        ),
    ]
}

const WRITES_OF_INDEX: UnitsId = UnitsId {
    index: Some(IndexId(3)),
    kind: UnitKind::Write,
};

fn level() -> UnitsLevel {
    UnitsLevel {
        units: UnitsId {
            index: None,
            kind: UnitKind::Read,
        },
        term: 4,
        level: -3000,
        peak: Some(UnitsPeak {
            settled: 8000,
            recent: vec![0, 9000],
        }),
    }
}
