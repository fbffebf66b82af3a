//! A table with a partition key `pk`, and what is written to it.

use std::collections::BTreeMap;

use partita_model::item::Item;
use partita_model::number::Number;
use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::request::{Action, GetRequest, Origin, PageRequest, ReturnValues, Target, WriteRequest};
use partita_model::schema::{IndexId, ScalarType, TableId};
use partita_model::table::record::{Circumstances, Owner, PartitionLimits, Record};
use partita_model::table::{
    Declaration, DeclaredGlobalIndex, DeclaredProjection, KeyElement, KeyKind, ProjectionKind, TableSpec, Throughput,
};
use partita_model::value::Value;
use serde_json::json;

use super::node::{Node, path};

/// The circumstances of every decision here.
pub const AT: Circumstances = Circumstances {
    now_ms: 1_700_000_000_000,
    partitions: PartitionLimits::at_most(64),
};

fn hash_key(name: &str) -> Vec<KeyElement> {
    vec![KeyElement {
        name: name.to_owned(),
        kind: KeyKind::Hash,
    }]
}

/// `things`: so many partitions, with or without the index `byColour` (two partitions), with or without time to live.
pub fn spec(partitions: u64, indexed: bool, time_to_live: bool) -> TableSpec {
    let units = |partitions: u64| {
        Some(Throughput {
            read: 1,
            write: 1000 * partitions,
        })
    };
    let index = DeclaredGlobalIndex {
        name: "byColour".to_owned(),
        keys: hash_key("colour"),
        projection: DeclaredProjection {
            kind: Some(ProjectionKind::All),
            attributes: None,
        },
        throughput: units(2),
        on_demand: None,
        warm: None,
    };
    let colour = indexed.then(|| ("colour".to_owned(), ScalarType::S));
    let declaration = Declaration {
        name: "things".to_owned(),
        attributes: [("pk".to_owned(), ScalarType::S)].into_iter().chain(colour).collect(),
        keys: hash_key("pk"),
        local: None,
        global: indexed.then(|| vec![index]),
        billing: Some(partita_model::table::BillingMode::Provisioned),
        throughput: units(partitions),
        on_demand: None,
        warm: None,
        stream: None,
        class: Default::default(),
        deletion_protection: false,
        sse: None,
        time_to_live: time_to_live.then(|| "until".to_owned()),
        tags: Vec::new(),
    };
    declaration.resolve().unwrap()
}

/// A table that is there.
pub fn record(spec: TableSpec) -> Record {
    let mut record = Record::create("123456789012", spec, Owner::Api, TableId(7), AT);
    record.created();
    record
}

/// The descriptors of the only index's partitions.
pub fn index_partitions(record: &Record) -> Vec<PartitionDescriptor> {
    record.index_descriptors(&record.global[0])
}

/// Makes the groups of these partitions.
pub fn bootstrap(node: &Node, partitions: &[PartitionDescriptor]) {
    for partition in partitions {
        let state = node.put(&path(partition.group), partition);
        assert_eq!(state["leader"], true, "{state}");
    }
}

/// A table as the directory has it: each group, where.
pub fn listed(record: &Record, groups: &[(&Node, &[PartitionDescriptor])]) -> serde_json::Value {
    let hosts: BTreeMap<String, &str> = groups
        .iter()
        .flat_map(|(node, partitions)| {
            partitions
                .iter()
                .map(|one| (format!("{:016x}", one.group.0), node.address()))
        })
        .collect();
    json!({"namespace": "shop", "account": record.account, "record": record, "hosts": hosts})
}

/// An item: key, colour, when it expires.
pub fn thing(pk: &str, colour: Option<&str>, until_s: Option<i64>) -> Item {
    let pk = Value::string(pk);
    let colour = colour.map(Value::string);
    let until = until_s.map(|seconds| Value::number(Number::from(seconds)));
    let attributes = [
        ("pk", Some(&pk)),
        ("colour", colour.as_ref()),
        ("until", until.as_ref()),
    ];
    Item::from_attributes(
        attributes
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.as_ref()))),
    )
}

/// A put of an item.
pub fn put(record: &Record, item: Item) -> WriteRequest {
    let schema = record.schema();
    WriteRequest {
        table: schema.id,
        schema_version: schema.version,
        key: schema.check_key(schema.key_item(item.as_ref()).as_ref()).unwrap(),
        action: Action::Put(item),
        condition: None,
        return_values: ReturnValues::None,
        return_item_on_failure: false,
        origin: Origin::Client,
    }
}

/// A strong read of an item.
pub fn get(record: &Record, pk: &str) -> GetRequest {
    let WriteRequest {
        table,
        schema_version,
        key,
        ..
    } = put(record, thing(pk, None, None));
    GetRequest {
        table,
        schema_version,
        key,
        consistent: true,
        projection: None,
    }
}

/// All rows of a partition of an index.
pub fn scan_index(record: &Record, index: IndexId) -> PageRequest {
    let schema = record.schema();
    PageRequest {
        table: schema.id,
        schema_version: schema.version,
        target: Target::Global(index),
        range: (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded),
        reverse: false,
        limit: None,
        bytes_max: 1 << 20,
        consistent: false,
        filter: None,
        projection: None,
        count_only: false,
        fetch_from_table: false,
    }
}

/// The group that holds an item.
pub fn group_of(record: &Record, pk: &str) -> GroupId {
    let key = get(record, pk).key;
    let partitions = record.table_descriptors();
    partitions
        .iter()
        .find(|partition| partition.contains(&key))
        .unwrap()
        .group
}

/// An attribute of an item.
pub fn text(item: &Item, attribute: &str) -> String {
    item.as_ref().get(attribute).unwrap().as_str().unwrap().to_owned()
}
