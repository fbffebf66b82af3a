//! What a table occupies on a cluster: each partition of the table has a storage node for each of its replicas, and a storage
//! node has a pod and a claim. Partitions of global indexes live on the table's storage nodes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use partita_crds::TableSpec;
use partita_model::table::SpecError;
use partita_model::table::record::{IndexPhase, Record};
use serde::Serialize;

use crate::requests::{sized, units};
use crate::{Settings, quantity};

/// Thousand-millionths in a thousandth.
const NANOS_IN_MILLI: i128 = 1_000_000;
/// Thousand-millionths in a whole.
const NANOS_IN_ONE: i128 = 1_000_000_000;

/// What a table occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Footprint {
    /// Partitions of the table.
    pub partitions: u64,
    /// Partitions of its global indexes.
    pub index_partitions: u64,
    /// Pods.
    pub pods: u64,
    /// CPU that the pods request, in thousandths of a core.
    pub cpu_millis: u64,
    /// Memory that the pods request, in bytes.
    pub memory_bytes: u64,
    /// Claims.
    pub claims: u64,
    /// What the claims request, in bytes.
    pub claim_bytes: u64,
}

impl Footprint {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            partitions: self.partitions.saturating_add(other.partitions),
            index_partitions: self.index_partitions.saturating_add(other.index_partitions),
            pods: self.pods.saturating_add(other.pods),
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            claims: self.claims.saturating_add(other.claims),
            claim_bytes: self.claim_bytes.saturating_add(other.claim_bytes),
        }
    }
}

/// Of a table with these partitions. Fails where the specification names an amount that is none.
pub fn footprint(spec: &TableSpec, record: &Record, settings: &Settings) -> Result<Footprint, SpecError> {
    let scheduling = spec.scheduling.as_ref();
    let cpu = scheduling.and_then(|scheduling| scheduling.cpu.as_ref());
    let cpu_millis = given(cpu, "scheduling.cpu", NANOS_IN_MILLI, "500m")?;
    let memory = scheduling.and_then(|scheduling| scheduling.memory.as_ref());
    let memory_bytes = given(memory, "scheduling.memory", NANOS_IN_ONE, "1Gi")?;
    let size = spec.storage.as_ref().and_then(|storage| storage.size.as_ref());
    let size = given(size, "storage.size", NANOS_IN_ONE, "30Gi")?;
    let default = given(Some(&settings.storage_size), "storage.size", NANOS_IN_ONE, "30Gi")?;

    let mut one_replica = Footprint {
        partitions: record.partitions.len() as u64,
        index_partitions: indexes(record),
        ..Footprint::default()
    };
    let sized = sized(record, spec, &settings.limits);
    for place in 0..record.partitions.len() {
        let requests = settings.formula.requests(units(&sized, place));
        one_replica = one_replica.and(Footprint {
            pods: 1,
            cpu_millis: cpu_millis.unwrap_or(requests.cpu_millis),
            memory_bytes: memory_bytes.unwrap_or(requests.memory_bytes),
            claims: 1,
            claim_bytes: size.or(default).unwrap_or_default(),
            ..Footprint::default()
        });
    }
    let replicas = u64::try_from(spec.replicas).unwrap_or(1).max(1);
    let times = |amount: u64| amount.saturating_mul(replicas);
    Ok(Footprint {
        partitions: one_replica.partitions,
        index_partitions: one_replica.index_partitions,
        pods: times(one_replica.pods),
        cpu_millis: times(one_replica.cpu_millis),
        memory_bytes: times(one_replica.memory_bytes),
        claims: times(one_replica.claims),
        claim_bytes: times(one_replica.claim_bytes),
    })
}

fn indexes(record: &Record) -> u64 {
    let there = record.global.iter().filter(|index| index.phase != IndexPhase::Removing);
    there.map(|index| index.partitions.len() as u64).sum()
}

/// An amount that a specification gives, in parts of so many thousand-millionths, rounded up.
fn given(amount: Option<&Quantity>, field: &str, part: i128, example: &str) -> Result<Option<u64>, SpecError> {
    let Some(amount) = amount else { return Ok(None) };
    let nanos = quantity::nanos(amount).filter(|nanos| *nanos > 0);
    let parts = nanos.and_then(|nanos| u64::try_from((nanos - 1) / part + 1).ok());
    match parts {
        Some(parts) => Ok(Some(parts)),
        None => {
            let message = format!("{:?} is no amount; write one such as {example}", amount.0);
            Err(SpecError::new(field, message))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::forecast::begin;
    use serde_json::json;

    /// A table with 100 RCU and these WCU, and an index with 100 RCU and its WCU.
    pub(crate) fn table(write_units: u64, index_units: Option<u64>) -> TableSpec {
        let units = |write: u64| json!({"readCapacityUnits": 100, "writeCapacityUnits": write});
        let mut spec = json!({
            "tableName": "orders",
            "attributeDefinitions": [{"attributeName": "id", "attributeType": "S"}],
            "keySchema": [{"attributeName": "id", "keyType": "HASH"}],
            "provisionedThroughput": units(write_units),
            "replicas": 3,
        });
        if let Some(write) = index_units {
            spec["globalSecondaryIndexes"] = json!([{
                "indexName": "byId",
                "keySchema": [{"attributeName": "id", "keyType": "HASH"}],
                "projection": {"projectionType": "ALL"},
                "provisionedThroughput": units(write),
            }]);
        }
        serde_json::from_value(spec).unwrap()
    }

    pub(crate) fn record(spec: &TableSpec) -> Record {
        begin(spec, &crate::repartition::Limits::default()).unwrap()
    }

    fn of(spec: &TableSpec) -> Result<Footprint, SpecError> {
        footprint(spec, &record(spec), &Settings::default())
    }

    #[test]
    fn a_storage_node_for_each_replica_of_each_partition() {
        let found = of(&table(4000, Some(3000))).unwrap();
        assert_eq!((found.partitions, found.index_partitions), (4, 3));
        assert_eq!((found.pods, found.claims, found.claim_bytes), (12, 12, 12 * (30 << 30)));
        // Three nodes with 2,000 WCU and 59 RCU, one with 1,000 WCU and 25 RCU: 360m and 210m.
        assert_eq!(found.cpu_millis, 3 * (3 * 360 + 210));
    }

    #[test]
    fn what_the_table_names_itself_is_taken() {
        let mut spec = table(4000, None);
        spec.replicas = 1;
        spec.storage = serde_json::from_value(json!({"size": "1.5Gi"})).unwrap();
        spec.scheduling = serde_json::from_value(json!({"cpu": "2", "memory": "1Gi"})).unwrap();
        let found = of(&spec).unwrap();
        assert_eq!(found.cpu_millis, 4 * 2000);
        assert_eq!(found.memory_bytes, 4 << 30);
        assert_eq!(found.claim_bytes, 4 * (3 << 29));
    }

    #[test]
    fn an_amount_that_is_none_is_refused_with_its_field() {
        let mut spec = table(1, None);
        spec.storage = serde_json::from_value(json!({"size": "lots"})).unwrap();
        let error = of(&spec).unwrap_err().to_string();
        assert_eq!(error, "storage.size: \"lots\" is no amount; write one such as 30Gi");
        spec.storage = serde_json::from_value(json!({"size": "-1Gi"})).unwrap();
        assert!(of(&spec).is_err());
    }
}
