//! A Table's status: conditions, counts and the last decisions, never a list by partition (design: a status must not
//! grow with the table).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many decisions a status keeps.
pub const DECISIONS_MAX: usize = 10;

/// What is true of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    /// The generation of the specification that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled` (kstatus), `QuorumLost`, `CapacitySatisfied` (there are the partitions that the units ask for).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// `CREATING`, `UPDATING`, `DELETING` or `ACTIVE`, as DescribeTable says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub table_status: Option<String>,
    /// The table's random id in hexadecimal: what `bootstrap.adopt` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub table_id: Option<String>,
    /// Partitions of the table and its global indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Those that have a leader and all their replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_partitions: Option<i32>,
    /// Items, rounded to two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_count: Option<i64>,
    /// Their bytes, rounded to two digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_size_bytes: Option<i64>,
    /// The operator's record of the table: what was accepted and how far it has come. Routers read it; nobody else needs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub state: Option<serde_json::Value>,
    /// The units in effect, as declared or as they follow the use; the specification is never rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_throughput: Option<EffectiveThroughput>,
    /// The last splits, merges, moves and refusals, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub decisions: Vec<Decision>,
}

/// An object whose shape is the model's (`partita_model::table::record::Record`), with a format number in it.
fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Units in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveThroughput {
    /// RCU.
    pub read_capacity_units: i64,
    /// WCU.
    pub write_capacity_units: i64,
    /// Those of global indexes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub global_secondary_indexes: Vec<EffectiveIndexThroughput>,
}

/// Units of a global index in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveIndexThroughput {
    /// The index.
    #[schemars(length(max = 255))]
    pub index_name: String,
    /// RCU.
    pub read_capacity_units: i64,
    /// WCU.
    pub write_capacity_units: i64,
}

/// Something that was decided about a table, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// When.
    pub time: Time,
    /// `Split`, `Merge`, `Move`, `Refused`, ….
    #[schemars(length(max = 64))]
    pub action: String,
    /// Why, in words a person can act on.
    #[schemars(length(max = 1024))]
    pub reason: String,
}
