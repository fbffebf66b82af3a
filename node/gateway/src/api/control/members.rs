//! Members that several operations have: their shapes, constraints and meaning.
//!
//! Each `..._of` function notes what breaks a constraint and gives what it could understand; the caller finishes the
//! constraints before it uses any of it.

use partita_model::error::ApiError;
use partita_model::json::{Bool, List, Long, Structure, Text};
use partita_model::message::table as message;
use partita_model::schema::{ScalarType, StreamView};
use partita_model::table::{
    BillingMode, DeclaredGlobalIndex, DeclaredLocalIndex, DeclaredProjection, KeyElement, KeyKind, OnDemandThroughput,
    ProjectionKind, SseSpec, TableClass, Throughput,
};
use serde::Deserialize;

use super::super::constraint::Constraints;
use super::resource::check_name;

/// Of attribute names in keys and projections.
const ATTRIBUTE_NAME_CHARS_MAX: usize = 255;
/// Of one index.
const NON_KEY_ATTRIBUTES_MAX: usize = 20;
/// Of a table and of local indexes; global ones may have more.
pub const KEY_SCHEMA_LENGTH_MAX: usize = 2;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
/// What the API writes for "no ceiling".
const NO_CEILING: i64 = -1;

/// `AttributeDefinition`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeDefinition {
    attribute_name: Option<Text>,
    attribute_type: Option<Text>,
}

/// `KeySchemaElement`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeySchemaElement {
    attribute_name: Option<Text>,
    key_type: Option<Text>,
}

/// `Projection`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Projection {
    projection_type: Option<Text>,
    non_key_attributes: Option<List<Text>>,
}

/// `ProvisionedThroughput`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProvisionedThroughput {
    read_capacity_units: Option<Long>,
    write_capacity_units: Option<Long>,
}

/// `OnDemandThroughput`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", rename = "OnDemandThroughput")]
pub struct OnDemand {
    max_read_request_units: Option<Long>,
    max_write_request_units: Option<Long>,
}

/// `WarmThroughput`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WarmThroughput {
    read_units_per_second: Option<Long>,
    write_units_per_second: Option<Long>,
}

/// `LocalSecondaryIndex`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LocalSecondaryIndex {
    index_name: Option<Text>,
    key_schema: Option<List<Structure<KeySchemaElement>>>,
    projection: Option<Structure<Projection>>,
}

/// `GlobalSecondaryIndex`, also `CreateGlobalSecondaryIndexAction`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GlobalSecondaryIndex {
    index_name: Option<Text>,
    key_schema: Option<List<Structure<KeySchemaElement>>>,
    projection: Option<Structure<Projection>>,
    provisioned_throughput: Option<Structure<ProvisionedThroughput>>,
    on_demand_throughput: Option<Structure<OnDemand>>,
    warm_throughput: Option<Structure<WarmThroughput>>,
}

/// `StreamSpecification`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamSpecification {
    stream_enabled: Option<Bool>,
    stream_view_type: Option<Text>,
}

/// `SSESpecification`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SSESpecification {
    enabled: Option<Bool>,
    #[serde(rename = "SSEType")]
    sse_type: Option<Text>,
    #[serde(rename = "KMSMasterKeyId")]
    kms_master_key_id: Option<Text>,
}

/// `Tag`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    key: Option<Text>,
    value: Option<Text>,
}

/// `AttributeDefinitions`.
pub fn definitions_of(
    constraints: &mut Constraints,
    value: Option<List<Structure<AttributeDefinition>>>,
) -> Vec<(String, ScalarType)> {
    let types = [("B", ScalarType::B), ("N", ScalarType::N), ("S", ScalarType::S)];
    let mut definitions = Vec::new();
    for (place, definition) in value.map(|list| list.0).unwrap_or_default().into_iter().enumerate() {
        let member = format!("attributeDefinitions.{}.member", place + 1);
        let name = attribute_name(constraints, &member, definition.0.attribute_name);
        let kind = constraints.required(format_args!("{member}.attributeType"), definition.0.attribute_type);
        let kind = constraints.one_of(format_args!("{member}.attributeType"), kind.as_deref(), &types);
        definitions.extend(name.zip(kind));
    }
    definitions
}

/// `KeySchema` at `member`.
pub fn keys_of(
    constraints: &mut Constraints,
    member: &str,
    value: Option<List<Structure<KeySchemaElement>>>,
    length_max: usize,
) -> Vec<KeyElement> {
    let Some(elements) = constraints.required(member, value) else {
        return Vec::new();
    };
    if !(1..=length_max).contains(&elements.len()) {
        constraints.length(member, shown_keys(&elements), elements.len(), 1, length_max);
    }
    let kinds = [("HASH", KeyKind::Hash), ("RANGE", KeyKind::Range)];
    let mut keys = Vec::new();
    for (place, element) in elements.0.into_iter().enumerate() {
        let member = format!("{member}.{}.member", place + 1);
        let name = attribute_name(constraints, &member, element.0.attribute_name);
        let kind = constraints.required(format_args!("{member}.keyType"), element.0.key_type);
        let kind = constraints.one_of(format_args!("{member}.keyType"), kind.as_deref(), &kinds);
        keys.extend(name.zip(kind).map(|(name, kind)| KeyElement { name, kind }));
    }
    keys
}

/// A key schema as the constraint about its length prints it.
fn shown_keys(elements: &[Structure<KeySchemaElement>]) -> String {
    let text = |value: &Option<Text>| value.as_deref().unwrap_or("null").to_owned();
    let shown = elements.iter().map(|Structure(element)| {
        let (name, kind) = (text(&element.attribute_name), text(&element.key_type));
        format!("KeySchemaElement(attributeName={name}, keyType={kind})")
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}

fn attribute_name(constraints: &mut Constraints, member: &str, value: Option<Text>) -> Option<String> {
    let name = constraints.required(format_args!("{member}.attributeName"), value)?.0;
    let member = format_args!("{member}.attributeName");
    constraints.length(member, &name, name.chars().count(), 1, ATTRIBUTE_NAME_CHARS_MAX);
    Some(name)
}

fn projection_of(
    constraints: &mut Constraints,
    member: &str,
    value: Option<Structure<Projection>>,
) -> DeclaredProjection {
    let Some(Structure(projection)) = constraints.required(member, value) else {
        return DeclaredProjection::default();
    };
    let kinds = [
        ("ALL", ProjectionKind::All),
        ("INCLUDE", ProjectionKind::Include),
        ("KEYS_ONLY", ProjectionKind::KeysOnly),
    ];
    let kind = projection.projection_type.as_deref();
    let attributes = projection.non_key_attributes.map(|list| {
        let member = format!("{member}.nonKeyAttributes");
        let names: Vec<String> = list.0.into_iter().map(|name| name.0).collect();
        let shown = format!("[{}]", names.join(", "));
        constraints.length(&member, shown, names.len(), 1, NON_KEY_ATTRIBUTES_MAX);
        for (place, name) in names.iter().enumerate() {
            let member = format_args!("{member}.{}.member", place + 1);
            constraints.length(member, name, name.chars().count(), 1, ATTRIBUTE_NAME_CHARS_MAX);
        }
        names
    });
    DeclaredProjection {
        kind: constraints.one_of(format_args!("{member}.projectionType"), kind, &kinds),
        attributes,
    }
}

/// `IndexName` at `member`.
pub fn index_name_of(constraints: &mut Constraints, member: &str, value: Option<Text>) -> String {
    let Some(Text(name)) = constraints.required(member, value) else {
        return String::new();
    };
    check_name(constraints, member, &name);
    name
}

/// `LocalSecondaryIndexes`.
pub fn local_indexes_of(
    constraints: &mut Constraints,
    value: Option<List<Structure<LocalSecondaryIndex>>>,
) -> Option<Vec<DeclaredLocalIndex>> {
    let declared = value?.0.into_iter().enumerate().map(|(place, Structure(index))| {
        let member = |name: &str| format!("localSecondaryIndexes.{}.member.{name}", place + 1);
        DeclaredLocalIndex {
            name: index_name_of(constraints, &member("indexName"), index.index_name),
            keys: keys_of(
                constraints,
                &member("keySchema"),
                index.key_schema,
                KEY_SCHEMA_LENGTH_MAX,
            ),
            projection: projection_of(constraints, &member("projection"), index.projection),
        }
    });
    Some(declared.collect())
}

/// `GlobalSecondaryIndexes`.
pub fn global_indexes_of(
    constraints: &mut Constraints,
    value: Option<List<Structure<GlobalSecondaryIndex>>>,
) -> Option<Vec<DeclaredGlobalIndex>> {
    let declared = value?.0.into_iter().enumerate().map(|(place, Structure(index))| {
        let member = format!("globalSecondaryIndexes.{}.member", place + 1);
        global_index_of(constraints, &member, index)
    });
    Some(declared.collect())
}

/// One global index at `member`.
pub fn global_index_of(constraints: &mut Constraints, at: &str, index: GlobalSecondaryIndex) -> DeclaredGlobalIndex {
    let member = |name: &str| format!("{at}.{name}");
    DeclaredGlobalIndex {
        name: index_name_of(constraints, &member("indexName"), index.index_name),
        keys: keys_of(constraints, &member("keySchema"), index.key_schema, usize::MAX),
        projection: projection_of(constraints, &member("projection"), index.projection),
        throughput: units_of(
            constraints,
            &member("provisionedThroughput"),
            index.provisioned_throughput,
        ),
        on_demand: ceilings_of(index.on_demand_throughput),
        warm: warm_of(constraints, &member("warmThroughput"), index.warm_throughput),
    }
}

/// `BillingMode`, and `TableThroughputMode`: DynamoDB takes the latter, which its models do not have, when the former is
/// not given.
pub fn billing_of(constraints: &mut Constraints, mode: Option<Text>, other: Option<Text>) -> Option<BillingMode> {
    let modes = [
        ("PROVISIONED", BillingMode::Provisioned),
        ("PAY_PER_REQUEST", BillingMode::PayPerRequest),
    ];
    let mode = constraints.one_of("billingMode", mode.as_deref(), &modes);
    let other = constraints.one_of("tableThroughputMode", other.as_deref(), &modes);
    mode.or(other)
}

/// `ProvisionedThroughput` at `member`.
pub fn units_of(
    constraints: &mut Constraints,
    member: &str,
    value: Option<Structure<ProvisionedThroughput>>,
) -> Option<Throughput> {
    let Structure(units) = value?;
    let mut bounded = |name: &str, value: Option<Long>| {
        let member = format!("{member}.{name}");
        let value = constraints.required(&member, value)?.0;
        constraints.within(&member, Some(value), 1, i64::MAX);
        u64::try_from(value).ok()
    };
    let write = bounded("writeCapacityUnits", units.write_capacity_units);
    let read = bounded("readCapacityUnits", units.read_capacity_units);
    read.zip(write).map(|(read, write)| Throughput { read, write })
}

/// `OnDemandThroughput`; -1 takes a ceiling away, other negative numbers are as invalid as 0.
pub fn ceilings_of(value: Option<Structure<OnDemand>>) -> Option<OnDemandThroughput> {
    let Structure(ceilings) = value?;
    let ceiling = |value: Option<Long>| match value?.0 {
        NO_CEILING => Some(OnDemandThroughput::UNLIMITED),
        value => Some(u64::try_from(value).unwrap_or_default()),
    };
    Some(OnDemandThroughput {
        read_max: ceiling(ceilings.max_read_request_units),
        write_max: ceiling(ceilings.max_write_request_units),
    })
}

/// `WarmThroughput` at `member`; a member that is not given is zero: as warm as the table is anyway.
pub fn warm_of(
    constraints: &mut Constraints,
    member: &str,
    value: Option<Structure<WarmThroughput>>,
) -> Option<Throughput> {
    let Structure(warm) = value?;
    let mut bounded = |name: &str, value: Option<Long>| {
        constraints.within(format_args!("{member}.{name}"), value.map(|value| value.0), 1, i64::MAX);
        value.and_then(|value| u64::try_from(value.0).ok()).unwrap_or_default()
    };
    Some(Throughput {
        read: bounded("readUnitsPerSecond", warm.read_units_per_second),
        write: bounded("writeUnitsPerSecond", warm.write_units_per_second),
    })
}

/// `StreamSpecification`, as far as constraints go: whether it is on, and its view.
pub fn stream_of(
    constraints: &mut Constraints,
    value: Option<Structure<StreamSpecification>>,
) -> Option<(bool, Option<StreamView>)> {
    let Structure(stream) = value?;
    let views = [
        ("NEW_IMAGE", StreamView::NewImage),
        ("OLD_IMAGE", StreamView::OldImage),
        ("NEW_AND_OLD_IMAGES", StreamView::NewAndOldImages),
        ("KEYS_ONLY", StreamView::KeysOnly),
    ];
    let enabled = constraints.required("streamSpecification.streamEnabled", stream.stream_enabled);
    let view = stream.stream_view_type;
    let view = constraints.one_of("streamSpecification.streamViewType", view.as_deref(), &views);
    Some((enabled?.0, view))
}

/// The stream of a new table.
pub fn new_stream(specification: Option<(bool, Option<StreamView>)>) -> Result<Option<StreamView>, ApiError> {
    match specification {
        None | Some((false, None)) => Ok(None),
        Some((true, Some(view))) => Ok(Some(view)),
        Some((true, None)) => Err(ApiError::validation(message::NEW_STREAM_WITHOUT_VIEW)),
        Some((false, Some(_))) => Err(ApiError::validation(message::NEW_VIEW_WITHOUT_STREAM)),
    }
}

/// What an update's stream specification asks for: `None` inside is off.
pub fn wanted_stream(
    specification: Option<(bool, Option<StreamView>)>,
) -> Result<Option<Option<StreamView>>, ApiError> {
    match specification {
        None => Ok(None),
        Some((true, Some(view))) => Ok(Some(Some(view))),
        Some((false, None)) => Ok(Some(None)),
        Some((true, None)) => Err(ApiError::validation(message::STREAM_ON_WITHOUT_VIEW)),
        Some((false, Some(_))) => Err(ApiError::validation(message::STREAM_OFF_WITH_VIEW)),
    }
}

/// `SSESpecification`.
pub fn sse_of(constraints: &mut Constraints, value: &Option<Structure<SSESpecification>>) -> Option<SseSpec> {
    let Structure(sse) = value.as_ref()?;
    let kinds = [("AES256", ()), ("KMS", ())];
    constraints.one_of("sSESpecification.sSEType", sse.sse_type.as_deref(), &kinds);
    Some(SseSpec {
        enabled: sse.enabled.is_some_and(|enabled| enabled.0),
        key: sse.kms_master_key_id.as_ref().map(|key| key.0.clone()),
    })
}

/// Refuses the type that the API names and no table can have.
pub fn check_sse(value: &Option<Structure<SSESpecification>>) -> Result<(), ApiError> {
    let kind = value.as_ref().and_then(|sse| sse.sse_type.as_deref());
    match kind {
        Some("AES256") => Err(ApiError::validation(message::SSE_TYPE)),
        _ => Ok(()),
    }
}

/// `TableClass`.
pub fn class_of(constraints: &mut Constraints, value: Option<Text>) -> Option<TableClass> {
    let classes = [
        ("STANDARD", TableClass::Standard),
        ("STANDARD_INFREQUENT_ACCESS", TableClass::StandardInfrequentAccess),
    ];
    constraints.one_of("tableClass", value.as_deref(), &classes)
}

/// `Tags`, when given.
pub fn tags_of(constraints: &mut Constraints, value: List<Structure<Tag>>) -> Vec<(String, String)> {
    let mut tags = Vec::new();
    for (place, Structure(tag)) in value.0.into_iter().enumerate() {
        let member = format!("tags.{}.member", place + 1);
        let key = constraints.required(format_args!("{member}.key"), tag.key);
        let value = constraints.required(format_args!("{member}.value"), tag.value);
        if let Some(key) = &key {
            check_tag_key(constraints, &format!("{member}.key"), key);
        }
        if let Some(value) = &value {
            constraints.length(
                format_args!("{member}.value"),
                &**value,
                value.chars().count(),
                0,
                TAG_VALUE_CHARS_MAX,
            );
        }
        tags.extend(key.zip(value).map(|(key, value)| (key.0, value.0)));
    }
    tags
}

/// A tag's key at `member`.
pub fn check_tag_key(constraints: &mut Constraints, member: &str, key: &str) {
    constraints.length(member, key, key.chars().count(), 1, TAG_KEY_CHARS_MAX);
}
