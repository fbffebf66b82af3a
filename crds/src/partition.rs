//! The Partition: one key range of a table or of a global index, as the operator made it. People read it; only the operator
//! writes it. The replication group itself is the truth about its range and members.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A partition of a table.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "partita.dev",
    version = "v1alpha1",
    kind = "Partition",
    plural = "partitions",
    singular = "partition",
    category = "partita",
    namespaced,
    status = "PartitionStatus",
    derive = "PartialEq",
    doc = "One key range of a table or of a global index. Made and kept by the operator.",
    selectable = ".spec.table",
    printcolumn(name = "Table", type_ = "string", json_path = ".spec.tableName"),
    printcolumn(name = "Index", type_ = "string", json_path = ".spec.indexName"),
    printcolumn(name = "From", type_ = "string", json_path = ".spec.start"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.end"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(name = "Replicas", type_ = "string", json_path = ".status.replicas"),
    printcolumn(name = "Items", type_ = "integer", json_path = ".status.itemCount"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.sizeBytes"),
    printcolumn(name = "Reads", type_ = "integer", json_path = ".status.readUnits"),
    printcolumn(name = "Writes", type_ = "integer", json_path = ".status.writeUnits"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Parent", type_ = "string", json_path = ".spec.parent"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PartitionSpec {
    /// The Table resource, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub table: String,
    /// The table's name.
    #[schemars(length(min = 3, max = 255))]
    pub table_name: String,
    /// The table's id in hexadecimal.
    #[schemars(length(min = 16, max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub table_id: String,
    /// The global index whose rows it holds; absent on a table's own partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 255))]
    pub index_name: Option<String>,
    /// The index's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub index_id: Option<i32>,
    /// Its replication group in hexadecimal.
    #[schemars(length(min = 16, max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub group: String,
    /// Its first key in hexadecimal; absent on the first partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192), regex(pattern = r"^([0-9a-f]{2})+$"))]
    pub start: Option<String>,
    /// The first key behind it in hexadecimal; absent on the last partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192), regex(pattern = r"^([0-9a-f]{2})+$"))]
    pub end: Option<String>,
    /// The StatefulSet whose storage nodes hold it.
    #[schemars(length(min = 1, max = 63))]
    pub host: String,
    /// Copies: one in each of the StatefulSet's storage nodes.
    #[schemars(range(min = 1, max = 5))]
    pub replicas: i32,
    /// The Partition that it was split off; absent on those that a table or index began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub parent: Option<String>,
    /// The StatefulSet that its replicas are moving to; until all of them are there, some are still in `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub moving_to: Option<String>,
    /// The Partition in front of it, which is to have its keys as well: this one goes then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub merging_into: Option<String>,
}

/// How far a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum PartitionPhase {
    /// Its storage nodes are being made.
    #[default]
    Pending,
    /// Its group serves.
    Ready,
    /// Its storage node does not answer, or its replicas are about to choose a leader.
    Unavailable,
    /// So many of its replicas are away that the others cannot choose a leader.
    QuorumLost,
    /// Its stores are others than it was made in: its data is not there.
    Lost,
}

/// What is true of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// How far it is.
    #[serde(default)]
    pub phase: PartitionPhase,
    /// The stores of its voters. They are written down before its group is made in them, and from then on it is never made
    /// anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 36)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub stores: Vec<String>,
    /// The pods of its voters, while not all of them are in `host`. Otherwise each pod of `host` has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub pods: Vec<String>,
    /// Its replicas that are there and have caught up, of those that there should be: `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub replicas: Option<String>,
    /// The pod of its leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub leader: Option<String>,
    /// Items (or rows of the index), rounded to two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_count: Option<i64>,
    /// Their bytes, rounded to two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Read units that it has served in each second of late, rounded to two digits; absent for less than half a unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_units: Option<i64>,
    /// Write units likewise; of a global index's partition, those of the rows that are delivered to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_units: Option<i64>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}
