//! CreateTable: makes a table; it is `CREATING` in the answer.

use partita_model::error::ApiError;
use partita_model::json::{self, Bool, List, Structure, Text};
use partita_model::table::{Declaration, TableSpec};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::constraint::Constraints;
use super::control::members::{
    AttributeDefinition, GlobalSecondaryIndex, KEY_SCHEMA_LENGTH_MAX, KeySchemaElement, LocalSecondaryIndex, OnDemand,
    ProvisionedThroughput, SSESpecification, StreamSpecification, Tag, WarmThroughput, billing_of, ceilings_of,
    check_sse, class_of, definitions_of, global_indexes_of, keys_of, local_indexes_of, new_stream, sse_of, stream_of,
    tags_of, units_of, warm_of,
};
use super::control::{answer, description, resource};
use super::{Answer, Call};
use crate::backend::Backend;

/// The request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateTableInput {
    attribute_definitions: Option<List<Structure<AttributeDefinition>>>,
    table_name: Option<Text>,
    key_schema: Option<List<Structure<KeySchemaElement>>>,
    local_secondary_indexes: Option<List<Structure<LocalSecondaryIndex>>>,
    global_secondary_indexes: Option<List<Structure<GlobalSecondaryIndex>>>,
    billing_mode: Option<Text>,
    table_throughput_mode: Option<Text>,
    provisioned_throughput: Option<Structure<ProvisionedThroughput>>,
    stream_specification: Option<Structure<StreamSpecification>>,
    #[serde(rename = "SSESpecification")]
    sse_specification: Option<Structure<SSESpecification>>,
    tags: Option<List<Structure<Tag>>>,
    table_class: Option<Text>,
    deletion_protection_enabled: Option<Bool>,
    warm_throughput: Option<Structure<WarmThroughput>>,
    resource_policy: Option<Text>,
    on_demand_throughput: Option<Structure<OnDemand>>,
    global_table_source_arn: Option<Text>,
    global_table_settings_replication_mode: Option<IgnoredAny>,
    vector_indexes: Option<IgnoredAny>,
}

/// Answers a request.
pub async fn handle<B: Backend>(call: &Call<'_, B>, body: &[u8]) -> Answer {
    let mut spec = parse(json::decode(body)?)?;
    spec.name = resource::named_table(call, &spec.name)?.to_owned();
    let table = call.backend.create_table(call.account, spec).await?;
    answer(&json!({"TableDescription": description::table(call, &table)}))
}

fn parse(input: CreateTableInput) -> Result<TableSpec, ApiError> {
    let unsupported = [
        ("ResourcePolicy", input.resource_policy.is_some()),
        ("GlobalTableSourceArn", input.global_table_source_arn.is_some()),
        (
            "GlobalTableSettingsReplicationMode",
            input.global_table_settings_replication_mode.is_some(),
        ),
        ("VectorIndexes", input.vector_indexes.is_some()),
    ];
    resource::check_named(&input.table_name)?;
    let mut constraints = Constraints::new();
    let name = resource::table_name(&mut constraints, input.table_name);
    let definitions = constraints.required("attributeDefinitions", input.attribute_definitions);
    let attributes = definitions_of(&mut constraints, definitions);
    let keys = keys_of(&mut constraints, "keySchema", input.key_schema, KEY_SCHEMA_LENGTH_MAX);
    let local = local_indexes_of(&mut constraints, input.local_secondary_indexes);
    let global = global_indexes_of(&mut constraints, input.global_secondary_indexes);
    let billing = billing_of(&mut constraints, input.billing_mode, input.table_throughput_mode);
    let throughput = units_of(&mut constraints, "provisionedThroughput", input.provisioned_throughput);
    let stream = stream_of(&mut constraints, input.stream_specification);
    let sse = sse_of(&mut constraints, &input.sse_specification);
    let tags = input
        .tags
        .map(|tags| tags_of(&mut constraints, tags))
        .unwrap_or_default();
    let class = class_of(&mut constraints, input.table_class).unwrap_or_default();
    let warm = warm_of(&mut constraints, "warmThroughput", input.warm_throughput);
    let on_demand = ceilings_of(input.on_demand_throughput);
    let name = constraints.finish_with(name)?;
    check_sse(&input.sse_specification)?;
    if let Some((member, _)) = unsupported.iter().find(|(_, given)| *given) {
        return Err(ApiError::validation(format!("{member} is not supported")));
    }
    let declaration = Declaration {
        // An ARN is only understood with the call; its last part is the name.
        name: name.rsplit('/').next().unwrap_or(&name).to_owned(),
        attributes,
        keys,
        local,
        global,
        billing,
        throughput,
        on_demand,
        warm,
        stream: new_stream(stream)?,
        class,
        deletion_protection: input.deletion_protection_enabled.is_some_and(|on| on.0),
        sse,
        time_to_live: None,
        tags,
    };
    let mut spec = declaration.resolve()?;
    spec.check_not_cool()?;
    spec.name = name;
    Ok(spec)
}
