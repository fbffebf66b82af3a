//! The Table: CreateTable's parameters in camelCase (the shape that users of AWS's own controller have), plus how the
//! table is deployed.
//!
//! Source of the first half: the DynamoDB API Reference, CreateTable. Bounds are DynamoDB's quotas where it has one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::TableStatus;

/// A DynamoDB table.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "partita.dev",
    version = "v1alpha1",
    kind = "Table",
    plural = "tables",
    singular = "table",
    category = "partita",
    namespaced,
    status = "TableStatus",
    derive = "PartialEq",
    doc = "A DynamoDB table: its keys, its capacity, and how it is deployed.",
    selectable = ".spec.tableName",
    printcolumn(name = "Table", type_ = "string", json_path = ".spec.tableName"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.tableStatus"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.billingMode"),
    printcolumn(
        name = "RCU",
        type_ = "integer",
        json_path = ".status.effectiveThroughput.readCapacityUnits"
    ),
    printcolumn(
        name = "WCU",
        type_ = "integer",
        json_path = ".status.effectiveThroughput.writeCapacityUnits"
    ),
    printcolumn(name = "Items", type_ = "integer", json_path = ".status.itemCount"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.tableSizeBytes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = unchanged("tableName"),
    validation = unchanged("keySchema"),
    validation = unchanged_optional("localSecondaryIndexes"),
    validation = unchanged_class(),
    validation = Rule::new("self.billingMode == 'PAY_PER_REQUEST' ? !has(self.provisionedThroughput) : (has(self.provisionedThroughput) || has(self.autoscaling))")
        .message("provisionedThroughput (or autoscaling) is needed with billingMode PROVISIONED and not allowed with PAY_PER_REQUEST")
        .field_path(".provisionedThroughput"),
    validation = Rule::new("self.billingMode != 'PAY_PER_REQUEST' || (!has(self.autoscaling) && (!has(self.globalSecondaryIndexes) || self.globalSecondaryIndexes.all(i, !has(i.autoscaling))))")
        .message("autoscaling is only allowed with billingMode PROVISIONED")
        .field_path(".autoscaling"),
    validation = fixed_or_range("readCapacityUnits", "read"),
    validation = fixed_or_range("writeCapacityUnits", "write"),
    validation = Rule::new("self.billingMode == 'PAY_PER_REQUEST' || !has(self.onDemandThroughput)")
        .message("onDemandThroughput is only allowed with billingMode PAY_PER_REQUEST")
        .field_path(".onDemandThroughput"),
    validation = Rule::new("self.keySchema.all(k, self.attributeDefinitions.exists(a, a.attributeName == k.attributeName))")
        .message("every attribute of keySchema must be defined in attributeDefinitions")
        .field_path(".attributeDefinitions"),
    validation = Rule::new("oldSelf.attributeDefinitions.all(o, self.attributeDefinitions.all(n, n.attributeName != o.attributeName || n.attributeType == o.attributeType))")
        .message("an attribute keeps its type")
        .field_path(".attributeDefinitions")
)]
pub struct TableSpec {
    /// The table's name: case-sensitive, unique within a namespace.
    #[schemars(length(min = 3, max = 255), regex(pattern = r"^[a-zA-Z0-9_.-]+$"))]
    pub table_name: String,
    /// Every key attribute of the table and its indexes, each once.
    #[schemars(length(min = 1, max = 167))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["attributeName".into()]))]
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// The primary key: the partition key, then the sort key if there is one.
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(
        merge_strategy = ListMerge::Atomic,
        validation = Rule::new("self[0].keyType == 'HASH' && (size(self) == 1 || self[1].keyType == 'RANGE')")
            .message("the first element is the HASH key, the second (if any) the RANGE key")
    )]
    pub key_schema: Vec<KeySchemaElement>,
    /// How capacity is paid for.
    #[serde(default)]
    pub billing_mode: BillingMode,
    /// The units of a provisioned table; what `autoscaling` has a range for is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_throughput: Option<ProvisionedThroughput>,
    /// The ceilings of an on-demand table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand_throughput: Option<OnDemandThroughput>,
    /// The throughput to be ready for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_throughput: Option<WarmThroughput>,
    /// Global secondary indexes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["indexName".into()]))]
    pub global_secondary_indexes: Vec<GlobalSecondaryIndex>,
    /// Local secondary indexes: fixed when the table is created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["indexName".into()]))]
    pub local_secondary_indexes: Vec<LocalSecondaryIndex>,
    /// The table's stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_specification: Option<StreamSpecification>,
    /// The expiry of items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_live: Option<TimeToLive>,
    /// Encryption at rest, as declared; kept and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sse_specification: Option<SseSpecification>,
    /// The table class; kept and shown.
    #[serde(default)]
    pub table_class: TableClass,
    /// DeleteTable and removing this resource are refused while set.
    #[serde(default)]
    pub deletion_protection_enabled: bool,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    pub tags: Vec<Tag>,

    /// Copies of each partition: 1, 3 or 5. Ignored by `partita standalone`.
    #[serde(default = "replicas_default")]
    #[x_kube(validation = Rule::new("self in [1, 3, 5]").message("replicas must be 1, 3 or 5"))]
    pub replicas: i32,
    /// The volumes of the storage nodes. Ignored by `partita standalone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Where the storage nodes run. Ignored by `partita standalone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// Units that follow the use, instead of those in `provisionedThroughput`. Refused by `partita standalone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// What becomes of the table when this resource is removed.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How the table begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// Leave the table as it is, whatever this specification says, until it is unset.
    #[serde(default)]
    pub paused: bool,
}

impl TableSpec {
    /// Whether any units follow the use.
    pub fn has_ranges(&self) -> bool {
        let indexes = self
            .global_secondary_indexes
            .iter()
            .map(|index| index.autoscaling.as_ref());
        let all = std::iter::once(self.autoscaling.as_ref()).chain(indexes);
        all.flatten()
            .any(|ranges| ranges.read.is_some() || ranges.write.is_some())
    }

    /// Takes over the ranges of `other`, for the table and for the indexes that both have; units that have a range are not
    /// given any more.
    pub fn keep_ranges(&mut self, other: &Self) {
        let keep =
            |fixed: &mut Option<ProvisionedThroughput>, own: &mut Option<Autoscaling>, ranges: &Option<Autoscaling>| {
                own.clone_from(ranges);
                let (Some(units), Some(ranges)) = (fixed.as_mut(), ranges) else {
                    return;
                };
                if ranges.read.is_some() {
                    units.read_capacity_units = None;
                }
                if ranges.write.is_some() {
                    units.write_capacity_units = None;
                }
                if (units.read_capacity_units, units.write_capacity_units) == (None, None) {
                    *fixed = None;
                }
            };
        keep(
            &mut self.provisioned_throughput,
            &mut self.autoscaling,
            &other.autoscaling,
        );
        for index in &mut self.global_secondary_indexes {
            let same = other
                .global_secondary_indexes
                .iter()
                .find(|same| same.index_name == index.index_name);
            if let Some(same) = same {
                keep(
                    &mut index.provisioned_throughput,
                    &mut index.autoscaling,
                    &same.autoscaling,
                );
            }
        }
    }
}

/// Three copies survive the loss of one, which is what people expect of DynamoDB.
fn replicas_default() -> i32 {
    3
}

/// Units of a kind are given, or they have a range: one of both, where there are any units at all.
fn fixed_or_range(fixed: &str, range: &str) -> Rule {
    let has_fixed = format!("(has(self.provisionedThroughput) && has(self.provisionedThroughput.{fixed}))");
    let has_range = format!("(has(self.autoscaling) && has(self.autoscaling.{range}))");
    Rule::new(format!(
        "(!has(self.provisionedThroughput) && !has(self.autoscaling)) || {has_fixed} != {has_range}"
    ))
    .message(format!("give either provisionedThroughput.{fixed} or a range in autoscaling.{range}").as_str())
    .field_path(".provisionedThroughput")
}

/// A required field that cannot change.
fn unchanged(field: &str) -> Rule {
    Rule::new(format!("self.{field} == oldSelf.{field}"))
        .message(format!("{field} cannot be changed").as_str())
        .field_path(format!(".{field}"))
}

/// An optional field that cannot change, appear or disappear.
fn unchanged_optional(field: &str) -> Rule {
    Rule::new(format!(
        "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    ))
    .message(format!("{field} cannot be changed, added or removed").as_str())
    .field_path(format!(".{field}"))
}

/// The class of the volumes, which is decided when a table is made: `storage` as a whole may come and go, its class may not. No class is called `-`.
fn unchanged_class() -> Rule {
    let class = |of: &str| {
        format!("(has({of}.storage) && has({of}.storage.storageClassName) ? {of}.storage.storageClassName : '-')")
    };
    Rule::new(format!("{} == {}", class("self"), class("oldSelf")))
        .message("storageClassName cannot be changed, added or removed")
        .field_path(".storage.storageClassName")
}

/// An amount of Kubernetes', not below zero. Source: "Quantity", Kubernetes API reference, `resource.Quantity`.
const AMOUNT: &str = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";

/// A key attribute and its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttributeDefinition {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    pub attribute_name: String,
    /// Its type.
    pub attribute_type: AttributeType,
}

/// The types a key attribute can have: string, number, binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum AttributeType {
    S,
    N,
    B,
}

/// One attribute of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySchemaElement {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    pub attribute_name: String,
    /// Partition key or sort key.
    pub key_type: KeyType,
}

/// Partition key (`HASH`) or sort key (`RANGE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum KeyType {
    Hash,
    Range,
}

/// How capacity is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum BillingMode {
    #[default]
    Provisioned,
    PayPerRequest,
}

/// Read and write units per second: each is given here, or has a range in `autoscaling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProvisionedThroughput {
    /// RCU: strong reads of up to 4 KB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub read_capacity_units: Option<i64>,
    /// WCU: writes of up to 1 KB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub write_capacity_units: Option<i64>,
}

/// Ceilings of an on-demand table; -1 removes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnDemandThroughput {
    /// Read units per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub max_read_request_units: Option<i64>,
    /// Write units per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub max_write_request_units: Option<i64>,
}

/// Throughput that a table is ready for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmThroughput {
    /// Read units per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub read_units_per_second: Option<i64>,
    /// Write units per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub write_units_per_second: Option<i64>,
}

/// A global secondary index: its own partitions, maintained after each write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = unchanged("keySchema"),
    validation = unchanged("projection"),
    validation = fixed_or_range("readCapacityUnits", "read"),
    validation = fixed_or_range("writeCapacityUnits", "write")
)]
pub struct GlobalSecondaryIndex {
    /// Its name.
    #[schemars(length(min = 3, max = 255), regex(pattern = r"^[a-zA-Z0-9_.-]+$"))]
    pub index_name: String,
    /// Its key: up to four HASH and then up to four RANGE attributes.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub key_schema: Vec<KeySchemaElement>,
    /// What its rows hold.
    pub projection: Projection,
    /// Its units, on a provisioned table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_throughput: Option<ProvisionedThroughput>,
    /// Its ceilings, on an on-demand table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand_throughput: Option<OnDemandThroughput>,
    /// The throughput it is to be ready for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_throughput: Option<WarmThroughput>,
    /// Units that follow the use, instead of those in `provisionedThroughput`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
}

/// A local secondary index: the table's partition key with another sort key, written with the item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSecondaryIndex {
    /// Its name.
    #[schemars(length(min = 3, max = 255), regex(pattern = r"^[a-zA-Z0-9_.-]+$"))]
    pub index_name: String,
    /// Its key: the table's partition key, then its own sort key.
    #[schemars(length(min = 2, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub key_schema: Vec<KeySchemaElement>,
    /// What its rows hold.
    pub projection: Projection,
}

/// What an index's rows hold besides the keys of index and table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.projectionType == 'INCLUDE') == has(self.nonKeyAttributes)")
        .message("nonKeyAttributes belongs to projectionType INCLUDE")
        .field_path(".nonKeyAttributes")
)]
pub struct Projection {
    /// Everything, keys only, or a list.
    pub projection_type: ProjectionType,
    /// The list of `INCLUDE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 255)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub non_key_attributes: Option<Vec<String>>,
}

/// Everything, keys only, or a list of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum ProjectionType {
    All,
    KeysOnly,
    Include,
}

/// The table's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.streamEnabled == has(self.streamViewType)")
        .message("streamViewType is needed when the stream is enabled, and only then")
        .field_path(".streamViewType")
)]
pub struct StreamSpecification {
    /// On or off.
    pub stream_enabled: bool,
    /// Which images its records hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_view_type: Option<StreamViewType>,
}

/// Which images a stream's records hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum StreamViewType {
    KeysOnly,
    NewImage,
    OldImage,
    NewAndOldImages,
}

/// The expiry of items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimeToLive {
    /// The attribute that holds each item's expiry, in seconds since 1970.
    #[schemars(length(min = 1, max = 255))]
    pub attribute_name: String,
    /// On or off.
    pub enabled: bool,
}

/// Encryption at rest, as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SseSpecification {
    /// With a key of one's own.
    pub enabled: bool,
    /// `KMS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub sse_type: Option<String>,
    /// The key.
    #[serde(default, rename = "kmsMasterKeyID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub kms_master_key_id: Option<String>,
}

/// The table class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum TableClass {
    #[default]
    Standard,
    StandardInfrequentAccess,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// Its key.
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    /// Its value.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub value: String,
}

/// The volumes of the storage nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The size of each volume; three times a partition's size limit unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = AMOUNT))]
    pub size: Option<Quantity>,
    /// The storage class; the cluster's default unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// Volumes that are 80 % full grow by half, up to this size; their storage class has to allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = AMOUNT))]
    pub max_size: Option<Quantity>,
    /// How long a node must be gone before its volume is given up (`10m`), or `Never`.
    #[serde(default = "replace_lost_after_default")]
    #[schemars(length(max = 16), regex(pattern = r"^(Never|([0-9]+(s|m|h))+)$"))]
    pub replace_lost_after: String,
}

impl Storage {
    /// Volumes of this size and class; everything else as it is by default.
    pub fn new(size: Option<Quantity>, storage_class_name: Option<String>) -> Self {
        Self {
            size,
            storage_class_name,
            max_size: None,
            replace_lost_after: replace_lost_after_default(),
        }
    }
}

/// Long enough for a node to reboot.
fn replace_lost_after_default() -> String {
    "10m".to_owned()
}

/// Where the storage nodes run. What is not given is as the operator is told (`tables.pods` of the chart).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,
    /// How strictly replicas of a partition are kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// The priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
    /// CPU of each pod, instead of what is computed from the units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = AMOUNT))]
    pub cpu: Option<Quantity>,
    /// Memory of each pod, instead of what is computed from the units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = AMOUNT))]
    pub memory: Option<Quantity>,
}

/// Whether replicas of a partition may share a host: `Preferred` keeps them apart as far as there are hosts and zones,
/// `Required` lets a pod wait for a host of its own, and spreads them evenly over the zones. As the operator is told
/// (`tables.pods.topology` of the chart) unless given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Topology {
    /// As far as there are hosts and zones: a cluster of one node will do.
    #[default]
    Preferred,
    /// A host for each replica, zones used evenly: a pod that finds none waits.
    Required,
}

/// Units that follow the use; the result stands in the status, the specification is never rewritten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Read units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<AutoscalingRange>,
    /// Write units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<AutoscalingRange>,
}

/// Bounds and target of one kind of units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.min <= self.max").message("min must not be above max").field_path(".min"),
    validation = Rule::new("!has(self.schedule) || self.schedule.all(w, w.min <= self.max)")
        .message("the min of a schedule must not be above max")
        .field_path(".schedule")
)]
pub struct AutoscalingRange {
    /// Never below.
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub min: i64,
    /// Never above.
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub max: i64,
    /// Use in per cent of the units that is aimed at.
    #[serde(default = "target_utilization_default")]
    #[schemars(range(min = 20, max = 90))]
    pub target_utilization: i32,
    /// Hours in which there is a higher minimum.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub schedule: Vec<ScheduledMinimum>,
}

/// Hours in which there is a higher minimum, by UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledMinimum {
    /// Days of the week on which it begins; every day unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Weekday>,
    /// When it begins: hours and minutes, as in `08:30`.
    #[schemars(length(max = 5), regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub from: String,
    /// When it ends; on the next day if that is not after `from`.
    #[schemars(length(max = 5), regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    pub to: String,
    /// Never below, in these hours.
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub min: i64,
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Weekday {
    Sunday,
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
}

/// The default of DynamoDB's own auto scaling.
fn target_utilization_default() -> i32 {
    70
}

/// What becomes of a table whose resource (or manifest) is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// How a table begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// Take over the retained data of this table id instead of waiting in `RetainedDataFound`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 16, max = 16), regex(pattern = r"^[0-9a-f]{16}$"))]
    pub adopt: Option<String>,
}
