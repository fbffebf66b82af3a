//! UpdateTable: changes units, billing, streams, classes, protection, and one global index at a time.

use partita_model::error::ApiError;
use partita_model::json::{self, Bool, List, Structure, Text};
use partita_model::message::table as message;
use partita_model::schema::ScalarType;
use partita_model::table::{DeclaredGlobalIndex, GlobalIndexUpdate, TableUpdate, resolve_global_index};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::constraint::Constraints;
use super::control::members::{
    AttributeDefinition, GlobalSecondaryIndex, OnDemand, ProvisionedThroughput, SSESpecification, StreamSpecification,
    WarmThroughput, billing_of, ceilings_of, check_sse, class_of, definitions_of, global_index_of, index_name_of,
    sse_of, stream_of, units_of, wanted_stream, warm_of,
};
use super::control::{answer, description, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// Index changes that one request can ask for without an error: one for each of the 20 indexes that a table may have, and
/// one index more. Of a longer list so many and one are looked at: that is enough to refuse it.
const CHANGES_MAX: usize = 21;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateTableInput {
    attribute_definitions: Option<List<Structure<AttributeDefinition>>>,
    table_name: Option<Text>,
    billing_mode: Option<Text>,
    table_throughput_mode: Option<Text>,
    provisioned_throughput: Option<Structure<ProvisionedThroughput>>,
    global_secondary_index_updates: Option<List<Structure<GlobalSecondaryIndexUpdate>>>,
    stream_specification: Option<Structure<StreamSpecification>>,
    #[serde(rename = "SSESpecification")]
    sse_specification: Option<Structure<SSESpecification>>,
    replica_updates: Option<IgnoredAny>,
    table_class: Option<Text>,
    deletion_protection_enabled: Option<Bool>,
    multi_region_consistency: Option<IgnoredAny>,
    global_table_witness_updates: Option<IgnoredAny>,
    on_demand_throughput: Option<Structure<OnDemand>>,
    warm_throughput: Option<Structure<WarmThroughput>>,
    global_table_settings_replication_mode: Option<IgnoredAny>,
    vector_index_updates: Option<IgnoredAny>,
}

/// One change of a global index: exactly one member is set.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GlobalSecondaryIndexUpdate {
    update: Option<Structure<UpdateGlobalSecondaryIndexAction>>,
    create: Option<Structure<GlobalSecondaryIndex>>,
    delete: Option<Structure<DeleteGlobalSecondaryIndexAction>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateGlobalSecondaryIndexAction {
    index_name: Option<Text>,
    provisioned_throughput: Option<Structure<ProvisionedThroughput>>,
    on_demand_throughput: Option<Structure<OnDemand>>,
    warm_throughput: Option<Structure<WarmThroughput>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteGlobalSecondaryIndexAction {
    index_name: Option<Text>,
}

/// A change whose keys still wait for their types.
enum IndexChange {
    Create(DeclaredGlobalIndex),
    Other(GlobalIndexUpdate),
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let (name, update) = parse(json::decode(body)?)?;
    let name = resource::named_table(call, &name)?;
    // The rules are checked here against the table as it is, and again by the backend, where nothing else can change
    // it in between.
    let current = call.backend.describe_table(call.account, name).await?;
    current.updated(&update)?;
    current.check_not_cooler(&update)?;
    let ceilings = update.on_demand;
    let changed: Vec<String> = update.global.iter().filter_map(index_with_units).collect();
    let created: Vec<String> = update.global.iter().filter_map(created_index).collect();
    let table = call.backend.update_table(call.account, name, update).await?;
    let mut shown = description::table(call, &table);
    description::show_former_units(&mut shown, &current, &table, &changed);
    description::show_removed_ceilings(&mut shown, ceilings);
    description::show_created_indexes(&mut shown, &created);
    answer(&json!({"TableDescription": shown}))
}

fn created_index(change: &GlobalIndexUpdate) -> Option<String> {
    match change {
        GlobalIndexUpdate::Create(index) => Some(index.name.clone()),
        GlobalIndexUpdate::Update { .. } | GlobalIndexUpdate::Delete(_) => None,
    }
}

fn index_with_units(change: &GlobalIndexUpdate) -> Option<String> {
    match change {
        GlobalIndexUpdate::Update {
            name,
            throughput: Some(_),
            ..
        } => Some(name.clone()),
        GlobalIndexUpdate::Create(_) | GlobalIndexUpdate::Update { .. } | GlobalIndexUpdate::Delete(_) => None,
    }
}

fn parse(input: UpdateTableInput) -> Result<(String, TableUpdate), ApiError> {
    let global_tables = [
        ("ReplicaUpdates", input.replica_updates.is_some()),
        ("MultiRegionConsistency", input.multi_region_consistency.is_some()),
        (
            "GlobalTableWitnessUpdates",
            input.global_table_witness_updates.is_some(),
        ),
        (
            "GlobalTableSettingsReplicationMode",
            input.global_table_settings_replication_mode.is_some(),
        ),
    ];
    resource::check_named_table(&input.table_name)?;
    let mut constraints = Constraints::new();
    let name = resource::table_name(&mut constraints, input.table_name);
    let attributes = definitions_of(&mut constraints, input.attribute_definitions);
    let billing = billing_of(&mut constraints, input.billing_mode, input.table_throughput_mode);
    let throughput = units_of(&mut constraints, "provisionedThroughput", input.provisioned_throughput);
    let changes = index_changes(&mut constraints, input.global_secondary_index_updates);
    let stream = stream_of(&mut constraints, input.stream_specification);
    let sse = sse_of(&mut constraints, &input.sse_specification);
    let class = class_of(&mut constraints, input.table_class);
    let on_demand = ceilings_of(input.on_demand_throughput);
    let warm = warm_of(&mut constraints, "warmThroughput", input.warm_throughput);
    let name = constraints.finish_with(name)?;
    check_sse(&input.sse_specification)?;
    if input.vector_index_updates.is_some() {
        return Err(ApiError::validation("VectorIndexUpdates is not supported"));
    }
    if let Some((member, _)) = global_tables.iter().find(|(_, given)| *given) {
        return Err(ApiError::validation(format!(
            "{member} is not supported: there are no global tables here"
        )));
    }
    let update = TableUpdate {
        global: resolve_changes(changes?, &attributes)?,
        attributes,
        billing,
        throughput,
        on_demand,
        warm,
        stream: wanted_stream(stream)?,
        class,
        deletion_protection: input.deletion_protection_enabled.map(|on| on.0),
        sse,
    };
    if update.is_empty() {
        return Err(ApiError::validation(message::NOTHING_TO_UPDATE));
    }
    Ok((name, update))
}

/// The changes as far as constraints go; the inner error is for later, when the constraints hold.
fn index_changes(
    constraints: &mut Constraints,
    updates: Option<List<Structure<GlobalSecondaryIndexUpdate>>>,
) -> Result<Vec<IndexChange>, ApiError> {
    let mut changes = Vec::new();
    let mut not_one = false;
    for (place, Structure(update)) in updates.map(|list| list.0).unwrap_or_default().into_iter().enumerate() {
        let at = format!("globalSecondaryIndexUpdates.{}.member", place + 1);
        match (update.create, update.update, update.delete) {
            (Some(Structure(index)), None, None) => {
                changes.push(IndexChange::Create(global_index_of(
                    constraints,
                    &format!("{at}.create"),
                    index,
                )));
            }
            (None, Some(Structure(action)), None) => {
                let member = |name: &str| format!("{at}.update.{name}");
                changes.push(IndexChange::Other(GlobalIndexUpdate::Update {
                    name: index_name_of(constraints, &member("indexName"), action.index_name),
                    throughput: units_of(
                        constraints,
                        &member("provisionedThroughput"),
                        action.provisioned_throughput,
                    ),
                    on_demand: ceilings_of(action.on_demand_throughput),
                    warm: warm_of(constraints, &member("warmThroughput"), action.warm_throughput),
                }));
            }
            (None, None, Some(Structure(action))) => {
                let name = index_name_of(constraints, &format!("{at}.delete.indexName"), action.index_name);
                changes.push(IndexChange::Other(GlobalIndexUpdate::Delete(name)));
            }
            _ => not_one = true,
        }
    }
    if not_one {
        return Err(ApiError::validation(message::INDEX_UPDATE_NOT_ONE));
    }
    Ok(changes)
}

fn resolve_changes(
    changes: Vec<IndexChange>,
    attributes: &[(String, ScalarType)],
) -> Result<Vec<GlobalIndexUpdate>, ApiError> {
    let changes = changes.into_iter().take(CHANGES_MAX + 1);
    let resolved = changes.enumerate().map(|(place, change)| match change {
        IndexChange::Create(index) => {
            let field = format!("globalSecondaryIndexUpdates[{place}]");
            Ok(GlobalIndexUpdate::Create(resolve_global_index(
                &index, attributes, &field,
            )?))
        }
        IndexChange::Other(change) => Ok(change),
    });
    resolved.collect()
}
