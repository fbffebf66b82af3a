//! What tests have in common: a table to begin with, an API server ([`cluster`], over HTTP [`serve`]) and storage nodes ([`nodes`], [`groups`]) in memory, and
//! an operator between them ([`world`]).

pub mod cluster;
pub mod groups;
pub mod nodes;
pub mod serve;
pub mod world;

use partita_crds::{Table, convert, names};
use partita_model::schema::{TableId, TableSchema};
use partita_model::table::record::{Circumstances, Owner, PartitionLimits, Record};
use serde_json::{Value, json};

/// The only Partition of a storage node of that Table, with so many bytes.
pub fn stored(host: &str, bytes: u64) -> Value {
    json!({
        "apiVersion": "partita.dev/v1alpha1",
        "kind": "Partition",
        "metadata": {"name": host, "namespace": NAMESPACE, "labels": {names::TABLE: "orders"}},
        "spec": {
            "table": "orders", "tableName": "Orders", "tableId": "0000000000000007",
            "group": "0000000000000001", "host": host, "replicas": 1,
        },
        "status": {"sizeBytes": bytes},
    })
}

/// When tests begin.
pub const NOW_MS: u64 = 1_700_000_000_000;
/// The namespace of their tables.
pub const NAMESPACE: &str = "shop";

/// A Table called `orders` with these write units, and an index `byStatus` with these.
pub fn table(write_units: u64, index_units: u64) -> Value {
    let units = |write: u64| json!({"readCapacityUnits": 100, "writeCapacityUnits": write});
    json!({
        "apiVersion": "partita.dev/v1alpha1",
        "kind": "Table",
        "metadata": {"name": "orders", "namespace": NAMESPACE},
        "spec": {
            "tableName": "Orders",
            "attributeDefinitions": [
                {"attributeName": "id", "attributeType": "S"},
                {"attributeName": "status", "attributeType": "S"},
            ],
            "keySchema": [{"attributeName": "id", "keyType": "HASH"}],
            "billingMode": "PROVISIONED",
            "provisionedThroughput": units(write_units),
            "globalSecondaryIndexes": [{
                "indexName": "byStatus",
                "keySchema": [{"attributeName": "status", "keyType": "HASH"}],
                "projection": {"projectionType": "ALL"},
                "provisionedThroughput": units(index_units),
            }],
            "replicas": 1,
        },
    })
}

/// A record of that table.
pub fn record(write_units: u64, index_units: u64) -> Record {
    let table: Table = serde_json::from_value(table(write_units, index_units)).unwrap();
    let spec = convert::to_model(&table.spec).unwrap();
    let at = Circumstances {
        now_ms: NOW_MS,
        partitions: PartitionLimits::at_most(64),
    };
    Record::create("000000000000", spec, Owner::Api, TableId(7), at)
}

/// Its schema.
pub fn schema() -> TableSchema {
    record(1, 1).schema()
}
