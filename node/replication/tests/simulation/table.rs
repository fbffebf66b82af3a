//! Two tables of one group each at first, on the same machines, and what clients ask of them.

use std::sync::Arc;

use partita_model::expression::{Condition, Kind, Placeholders};
use partita_model::item::Item;
use partita_model::key::{self, KeyBytes};
use partita_model::request::{Action, GetRequest, Origin, ReturnValues, WriteRequest};
use partita_model::schema::{
    GlobalIndex, IndexId, IndexProjection, KeyAttribute, KeySchema, ScalarType, SchemaVersion, TableId, TableSchema,
};
use partita_model::value::{Value, ValueRef};
use partita_partition::descriptor::{GroupId, PartitionDescriptor};

/// The first group of each table.
pub const GROUPS: [GroupId; 2] = [GroupId(7), GroupId(8)];
/// The first group of the table that has a global index.
pub const INDEXED: GroupId = GROUPS[0];
/// The first group of that index.
pub const INDEX: GroupId = GroupId(9);
pub const INDEX_ID: IndexId = IndexId(1);
/// All groups that there are at the beginning.
pub const FIRST_GROUPS: [GroupId; 3] = [GROUPS[0], GROUPS[1], INDEX];
/// Items are spread over so many index keys; one item in so many has no row in the index.
const BUCKETS: u64 = 5;

/// The group that has a key before anything is split.
pub fn first_group_of(key: usize) -> GroupId {
    GROUPS[key % GROUPS.len()]
}

/// A key's table: it has the number of its first group.
pub fn table_of(key: usize) -> TableId {
    TableId(first_group_of(key).0)
}

/// A key as bytes.
pub fn key_bytes(key: usize) -> KeyBytes {
    let schema = schema(first_group_of(key));
    key::primary(&schema.keys, schema.seed, item(key, None).as_ref()).unwrap()
}

/// Whether a partition has a key.
pub fn has(descriptor: &PartitionDescriptor, key: usize) -> bool {
    descriptor.table == table_of(key) && descriptor.contains(&key_bytes(key))
}

fn schema(group: GroupId) -> TableSchema {
    TableSchema {
        id: TableId(group.0),
        seed: 7,
        version: SchemaVersion(1),
        name: format!("table-{}", group.0),
        keys: KeySchema {
            hash: vec![KeyAttribute {
                name: "id".into(),
                kind: ScalarType::S,
            }],
            range: Vec::new(),
        },
        local: Vec::new(),
        global: (group == INDEXED).then(index).into_iter().collect(),
        time_to_live: None,
        stream: None,
    }
}

fn index() -> GlobalIndex {
    GlobalIndex {
        id: INDEX_ID,
        table: TableId(INDEX.0),
        seed: 11,
        name: "by-bucket".to_owned(),
        keys: KeySchema {
            hash: vec![KeyAttribute {
                name: "bucket".into(),
                kind: ScalarType::S,
            }],
            range: Vec::new(),
        },
        projection: IndexProjection::All,
        readable: true,
    }
}

pub fn descriptor(group: GroupId) -> PartitionDescriptor {
    match group == INDEX {
        true => PartitionDescriptor::whole_index(INDEX, &schema(INDEXED), index()),
        false => PartitionDescriptor::whole_table(group, Arc::new(schema(group))),
    }
}

fn item(key: usize, value: Option<u64>) -> Item {
    let id = Value::string(&format!("key-{key}"));
    let bucket = value.map(|value| value % BUCKETS).filter(|bucket| *bucket > 0);
    let bucket = bucket.map(|bucket| Value::string(&format!("bucket-{bucket}")));
    let value = value.map(|value| Value::string(&marker(value)));
    let bucket = bucket.as_ref().map(|bucket| ("bucket", bucket.as_ref()));
    let value = value.as_ref().map(|value| ("value", value.as_ref()));
    Item::from_attributes(bucket.into_iter().chain([("id", id.as_ref())]).chain(value))
}

/// How a value stands in an item: found nowhere else.
pub fn marker(value: u64) -> String {
    format!("<{value}>")
}

/// The value of an item.
pub fn value_of(item: &Item) -> u64 {
    let value = item.as_ref().get("value").unwrap();
    let text = value.as_str().unwrap();
    text.trim_matches(['<', '>']).parse().unwrap()
}

fn write(key: usize, action: Action) -> WriteRequest {
    let schema = schema(first_group_of(key));
    WriteRequest {
        table: schema.id,
        schema_version: schema.version,
        key: key_bytes(key),
        action,
        condition: None,
        return_values: ReturnValues::AllOld,
        return_item_on_failure: true,
        origin: Origin::Client,
    }
}

/// Replaces the item, or removes it, and answers what it was.
pub fn swap(key: usize, value: Option<u64>) -> WriteRequest {
    match value {
        Some(_) => write(key, Action::Put(item(key, value))),
        None => write(key, Action::Delete { key: item(key, None) }),
    }
}

/// Puts the item if there is none, else answers what there is.
pub fn insert(key: usize, value: u64) -> WriteRequest {
    type Values<'a> = Vec<(&'a str, Result<ValueRef<'a>, &'a str>)>;
    let names: Option<Vec<(&str, &str)>> = None;
    let values: Option<Values<'_>> = None;
    let placeholders = Placeholders::new(names, values).unwrap();
    let condition = Condition::parse(Kind::Condition, "attribute_not_exists(id)", &placeholders).unwrap();
    WriteRequest {
        condition: Some(condition),
        return_values: ReturnValues::None,
        ..write(key, Action::Put(item(key, Some(value))))
    }
}

pub fn read(key: usize, consistent: bool) -> GetRequest {
    let WriteRequest {
        table,
        schema_version,
        key,
        ..
    } = swap(key, None);
    GetRequest {
        table,
        schema_version,
        key,
        consistent,
        projection: None,
    }
}
