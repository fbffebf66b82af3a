//! A Table as callers of the API see it.
//!
//! 1. What the operator has noted is what is there; before it has noted anything, the table is being made.
//! 2. A specification that the operator has not seen yet is what is coming: the record is given its target, as the
//!    operator will.
//! 3. A Table that is being deleted says so.

use kube::ResourceExt;
use partita_crds::table::DeletionPolicy;
use partita_crds::{Table, convert, names};
use partita_model::table::record::{Circumstances, Declared, Owner, PartitionLimits, Record};
use partita_model::table::{Status, TableSpec};

use crate::directory::kubernetes::{deleting, recorded};

/// When and where tables are decided about. How many partitions a table may have is the operator's setting: nothing is bounded here that
/// it would allow.
pub fn circumstances(now_ms: u64) -> Circumstances {
    Circumstances {
        now_ms,
        partitions: PartitionLimits::at_most(PartitionLimits::COUNT_MAX),
    }
}

/// The record behind a Table's description; `None` when the Table is none that DynamoDB knows (an invalid manifest).
pub fn view(table: &Table, now_ms: u64) -> Option<Record> {
    let namespace = table.namespace().unwrap_or_default();
    let kept = recorded(&namespace, &table.name_any(), table);
    let seen = table.status.as_ref().and_then(|status| status.observed_generation);
    // Units that follow the use are what they are, until the operator says otherwise.
    let units = |index: Option<&str>| kept.as_ref()?.spec.units(index);
    let wanted = convert::to_model_with(&table.spec, &units).ok();
    let mut record = match (kept, wanted) {
        (None, None) => return None,
        (None, Some(wanted)) => {
            let uid = table.metadata.uid.as_deref().unwrap_or_default();
            let created = circumstances(created_ms(table).unwrap_or(now_ms));
            let id = names::table_id(uid);
            Record::create(&names::account(&namespace), wanted, owner(table), id, created)
        }
        (Some(mut record), wanted) => {
            // What comes while something else is under way has been seen, too, and waits.
            let waits = seen < table.metadata.generation || !record.settled();
            if let Some(wanted) = wanted.filter(|_| waits) {
                coming(&mut record, wanted, now_ms);
            }
            record
        }
    };
    if deleting(table) {
        record.status = Status::Deleting;
    }
    Some(record)
}

/// Shows what is on its way. What the operator will refuse is not.
fn coming(record: &mut Record, wanted: TableSpec, now_ms: u64) {
    let updating = record.updating;
    let quiet = {
        let same = TableSpec {
            time_to_live: record.spec.time_to_live.clone(),
            tags: record.spec.tags.clone(),
            ..wanted.clone()
        };
        same == record.spec
    };
    if record.retarget(wanted, circumstances(now_ms)).is_ok() && quiet {
        // The table stays ACTIVE while tags and time to live change.
        record.updating = updating;
    }
}

/// Epoch milliseconds.
fn created_ms(table: &Table) -> Option<u64> {
    let created = table.metadata.creation_timestamp.as_ref()?;
    u64::try_from(created.0.as_millisecond()).ok()
}

/// Whether a table was made through the API.
pub fn is_from_api(table: &Table) -> bool {
    table.labels().get(names::CREATED_BY).map(String::as_str) == Some(names::API)
}

fn owner(table: &Table) -> Owner {
    if is_from_api(table) {
        return Owner::Api;
    }
    Owner::Manifest(Declared {
        file: String::new(),
        resource: resource(table),
        delete_with_manifest: table.spec.deletion_policy == DeletionPolicy::Delete,
    })
}

/// `namespace/name`.
pub fn resource(table: &Table) -> String {
    format!("{}/{}", table.namespace().unwrap_or_default(), table.name_any())
}

/// Whose specification it is, if it is not the API's to change: its field manager. A person's edit of a table that was
/// made through the API takes nothing over, a declaration (server-side apply, or kubectl's own) does.
pub fn foreign_manager(table: &Table) -> Option<String> {
    let from_api = is_from_api(table);
    let ours = |manager: &str| manager == names::ROUTER || manager == names::OPERATOR;
    let mut owners = table.managed_fields().iter().filter(|entry| {
        let of_spec = entry
            .fields_v1
            .as_ref()
            .is_some_and(|fields| fields.0.get("f:spec").is_some());
        let declared = entry.operation.as_deref() == Some("Apply")
            || entry.manager.as_deref() == Some("kubectl-client-side-apply");
        of_spec && entry.subresource.is_none() && (declared || !from_api)
    });
    let foreign = owners.find_map(|entry| entry.manager.clone().filter(|manager| !ours(manager)));
    match foreign {
        None if !from_api => Some("unknown".to_owned()),
        foreign => foreign,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
    use partita_model::table::{GlobalIndexUpdate, TableUpdate, Throughput, TimeToLiveStatus};
    use serde_json::json;

    use super::*;
    use crate::directory::kubernetes::samples::{ready, table};

    const NOW_MS: u64 = 1_700_000_000_000;

    fn orders() -> Table {
        table("shop", "orders-1", "orders")
    }

    /// The Table with another specification, which the operator has not seen.
    fn changed(mut table: Table, change: impl FnOnce(&mut partita_crds::TableSpec)) -> Table {
        change(&mut table.spec);
        *table.metadata.generation.as_mut().unwrap() += 1;
        table
    }

    #[test]
    fn a_new_table_is_being_made_since_it_was_created() {
        let mut table = orders();
        table.metadata.creation_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::from_second(12).unwrap()));
        let record = view(&table, NOW_MS).unwrap();
        assert_eq!((record.status, record.dates.created_ms), (Status::Creating, 12_000));
        assert_eq!(record.id, names::table_id("uid of shop/orders-1"));
        assert_eq!(record.account, names::account("shop"));
    }

    #[test]
    fn partitions_are_bounded_by_the_operator_and_not_here() {
        let with = |write_units| {
            let mut table = orders();
            let units = table.spec.provisioned_throughput.as_mut().unwrap();
            units.write_capacity_units = Some(write_units);
            view(&table, NOW_MS).unwrap().partitions.len()
        };
        assert_eq!(with(200_000), 200);
        assert_eq!(with(40_000_000), 1024, "no setting of the operator allows more");
    }

    #[test]
    fn a_specification_that_the_operator_has_not_seen_is_coming() {
        let (table, _) = ready(orders());
        assert_eq!(view(&table, NOW_MS).unwrap().table_status(), Status::Active);
        let table = changed(table, |spec| {
            spec.provisioned_throughput.as_mut().unwrap().write_capacity_units = Some(3000);
        });
        let record = view(&table, NOW_MS).unwrap();
        assert_eq!(record.table_status(), Status::Updating);
        assert_eq!(record.spec.throughput, Throughput { read: 1, write: 3000 });
        assert_eq!(record.dates.units.increased_ms, Some(NOW_MS));
    }

    #[test]
    fn tags_and_time_to_live_leave_a_table_active() {
        let (table, _) = ready(orders());
        let table = changed(table, |spec| {
            spec.time_to_live = Some(partita_crds::table::TimeToLive {
                attribute_name: "until".to_owned(),
                enabled: true,
            });
            spec.tags = vec![partita_crds::table::Tag {
                key: "team".to_owned(),
                value: "a".to_owned(),
            }];
        });
        let record = view(&table, NOW_MS).unwrap();
        assert_eq!(record.table_status(), Status::Active);
        assert_eq!(record.time_to_live, TimeToLiveStatus::Enabling);
        assert_eq!(record.spec.tags, [("team".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn a_specification_that_waits_for_another_is_coming() {
        let (mut table, _) = ready(orders());
        let mut record = view(&table, NOW_MS).unwrap();
        record
            .update_time_to_live("until", true, circumstances(NOW_MS))
            .unwrap();
        let status = table.status.as_mut().unwrap();
        status.state = Some(serde_json::to_value(&record).unwrap());
        status.observed_generation = Some(2);
        table.spec.time_to_live = Some(partita_crds::table::TimeToLive {
            attribute_name: "until".to_owned(),
            enabled: true,
        });
        let shown = |table: &Table| {
            let record = view(table, NOW_MS).unwrap();
            (record.table_status(), record.time_to_live, record.spec.throughput.write)
        };
        assert_eq!(shown(&table), (Status::Active, TimeToLiveStatus::Enabling, 2000));
        let table = changed(table, |spec| {
            spec.provisioned_throughput.as_mut().unwrap().write_capacity_units = Some(3000);
        });
        assert_eq!(
            table.status.as_ref().unwrap().observed_generation,
            table.metadata.generation
        );
        assert_eq!(shown(&table), (Status::Updating, TimeToLiveStatus::Enabling, 3000));
    }

    #[test]
    fn what_the_operator_will_refuse_is_not_coming() {
        let (table, _) = ready(orders());
        let before = view(&table, NOW_MS).unwrap();
        let table = changed(table, |spec| {
            spec.attribute_definitions[0].attribute_type = partita_crds::table::AttributeType::N
        });
        assert_eq!(view(&table, NOW_MS).unwrap(), before);
    }

    #[test]
    fn a_table_being_deleted_says_so() {
        let mut table = orders();
        table.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(view(&table, NOW_MS).unwrap().status, Status::Deleting);
    }

    #[test]
    fn an_intended_specification_lacks_what_is_being_removed() {
        let (table, _) = ready(orders());
        let mut record = view(&table, NOW_MS).unwrap();
        let index = serde_json::from_value(json!({
            "indexName": "by-colour", "keySchema": [{"attributeName": "colour", "keyType": "HASH"}],
            "projection": {"projectionType": "ALL"},
            "provisionedThroughput": {"readCapacityUnits": 1, "writeCapacityUnits": 1},
        }));
        let mut with = table.spec.clone();
        with.global_secondary_indexes.push(index.unwrap());
        with.attribute_definitions
            .push(partita_crds::table::AttributeDefinition {
                attribute_name: "colour".to_owned(),
                attribute_type: partita_crds::table::AttributeType::S,
            });
        record
            .retarget(convert::to_model(&with).unwrap(), circumstances(NOW_MS))
            .unwrap();
        record.applied();
        record.index_built("by-colour");
        record.applied();
        let update = TableUpdate {
            global: vec![GlobalIndexUpdate::Delete("by-colour".to_owned())],
            ..TableUpdate::default()
        };
        record.update(&update, circumstances(NOW_MS)).unwrap();
        assert_eq!(record.spec.global.len(), 1);
        assert_eq!(record.intended(), convert::to_model(&table.spec).unwrap());
    }

    fn managed(label: bool, managers: &[(&str, &str, &str)]) -> Option<String> {
        let mut table = orders();
        if label {
            table
                .labels_mut()
                .insert(names::CREATED_BY.to_owned(), names::API.to_owned());
        }
        let entries = managers.iter().map(|(manager, operation, field)| ManagedFieldsEntry {
            manager: Some((*manager).to_owned()),
            operation: Some((*operation).to_owned()),
            fields_v1: Some(FieldsV1(json!({*field: {}}))),
            ..ManagedFieldsEntry::default()
        });
        table.metadata.managed_fields = Some(entries.collect());
        foreign_manager(&table)
    }

    #[test]
    fn a_declared_table_is_its_declarers() {
        let router = (names::ROUTER, "Update", "f:spec");
        let operator = (names::OPERATOR, "Apply", "f:metadata");
        let apply = ("kubectl", "Apply", "f:spec");
        let client_side = ("kubectl-client-side-apply", "Update", "f:spec");
        let edit = ("kubectl-edit", "Update", "f:spec");
        let kubectl = Some("kubectl".to_owned());
        assert_eq!(managed(true, &[router, operator]), None);
        assert_eq!(managed(true, &[router, operator, edit]), None);
        assert_eq!(managed(true, &[router, apply]), kubectl);
        assert_eq!(
            managed(true, &[router, client_side]),
            Some("kubectl-client-side-apply".to_owned())
        );
        assert_eq!(managed(false, &[operator, apply]), kubectl);
        assert_eq!(managed(false, &[edit]), Some("kubectl-edit".to_owned()));
        assert_eq!(managed(false, &[]), Some("unknown".to_owned()));
    }
}
