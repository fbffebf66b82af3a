//! From a Table resource's specification to the model's, naming the field where something does not fit.

use partita_crds::table as crd;
use partita_model::schema::{ScalarType, StreamView};
use partita_model::table::{
    BillingMode, Declaration, DeclaredGlobalIndex, DeclaredLocalIndex, DeclaredProjection, KeyElement, KeyKind,
    OnDemandThroughput, ProjectionKind, SpecError, SseSpec, TableClass, TableSpec, Throughput,
};

/// Converts a specification and checks it.
pub fn table_spec(spec: &crd::TableSpec) -> Result<TableSpec, SpecError> {
    let declaration = Declaration {
        name: spec.table_name.clone(),
        attributes: spec.attribute_definitions.iter().map(attribute).collect(),
        keys: keys(&spec.key_schema),
        local: non_empty(&spec.local_secondary_indexes, |_, index| {
            Ok(DeclaredLocalIndex {
                name: index.index_name.clone(),
                keys: keys(&index.key_schema),
                projection: projection(&index.projection),
            })
        })?,
        global: non_empty(&spec.global_secondary_indexes, |place, index| {
            let field = format!("globalSecondaryIndexes[{place}].");
            Ok(DeclaredGlobalIndex {
                name: index.index_name.clone(),
                keys: keys(&index.key_schema),
                projection: projection(&index.projection),
                throughput: throughput(index.provisioned_throughput, &field)?,
                on_demand: on_demand(index.on_demand_throughput, &field)?,
                warm: warm(index.warm_throughput, &field)?,
            })
        })?,
        billing: Some(match spec.billing_mode {
            crd::BillingMode::Provisioned => BillingMode::Provisioned,
            crd::BillingMode::PayPerRequest => BillingMode::PayPerRequest,
        }),
        throughput: throughput(spec.provisioned_throughput, "")?,
        on_demand: on_demand(spec.on_demand_throughput, "")?,
        warm: warm(spec.warm_throughput, "")?,
        stream: stream(spec.stream_specification.as_ref())?,
        class: match spec.table_class {
            crd::TableClass::Standard => TableClass::Standard,
            crd::TableClass::StandardInfrequentAccess => TableClass::StandardInfrequentAccess,
        },
        deletion_protection: spec.deletion_protection_enabled,
        sse: spec.sse_specification.as_ref().map(|sse| SseSpec {
            enabled: sse.enabled,
            key: sse.kms_master_key_id.clone(),
        }),
        time_to_live: spec
            .time_to_live
            .as_ref()
            .filter(|ttl| ttl.enabled)
            .map(|ttl| ttl.attribute_name.clone()),
        tags: spec
            .tags
            .iter()
            .map(|tag| (tag.key.clone(), tag.value.clone()))
            .collect(),
    };
    declaration.resolve()
}

/// Converts a list; an empty one is the same as none.
fn non_empty<T, U>(
    list: &[T],
    convert: impl Fn(usize, &T) -> Result<U, SpecError>,
) -> Result<Option<Vec<U>>, SpecError> {
    if list.is_empty() {
        return Ok(None);
    }
    list.iter()
        .enumerate()
        .map(|(place, element)| convert(place, element))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn attribute(definition: &crd::AttributeDefinition) -> (String, ScalarType) {
    let kind = match definition.attribute_type {
        crd::AttributeType::S => ScalarType::S,
        crd::AttributeType::N => ScalarType::N,
        crd::AttributeType::B => ScalarType::B,
    };
    (definition.attribute_name.clone(), kind)
}

fn keys(elements: &[crd::KeySchemaElement]) -> Vec<KeyElement> {
    let element = |element: &crd::KeySchemaElement| KeyElement {
        name: element.attribute_name.clone(),
        kind: match element.key_type {
            crd::KeyType::Hash => KeyKind::Hash,
            crd::KeyType::Range => KeyKind::Range,
        },
    };
    elements.iter().map(element).collect()
}

fn projection(projection: &crd::Projection) -> DeclaredProjection {
    DeclaredProjection {
        kind: Some(match projection.projection_type {
            crd::ProjectionType::All => ProjectionKind::All,
            crd::ProjectionType::KeysOnly => ProjectionKind::KeysOnly,
            crd::ProjectionType::Include => ProjectionKind::Include,
        }),
        attributes: projection.non_key_attributes.clone(),
    }
}

fn throughput(units: Option<crd::ProvisionedThroughput>, field: &str) -> Result<Option<Throughput>, SpecError> {
    let field = |name| format!("{field}provisionedThroughput.{name}");
    let convert = |units: crd::ProvisionedThroughput| {
        Ok(Throughput {
            read: positive(units.read_capacity_units, || field("readCapacityUnits"))?,
            write: positive(units.write_capacity_units, || field("writeCapacityUnits"))?,
        })
    };
    units.map(convert).transpose()
}

fn on_demand(ceilings: Option<crd::OnDemandThroughput>, field: &str) -> Result<Option<OnDemandThroughput>, SpecError> {
    let ceiling = |units: Option<i64>, name: &str| match units {
        None | Some(-1) => Ok(None),
        Some(units) => positive(units, || format!("{field}onDemandThroughput.{name}")).map(Some),
    };
    let convert = |ceilings: crd::OnDemandThroughput| {
        Ok(OnDemandThroughput {
            read_max: ceiling(ceilings.max_read_request_units, "maxReadRequestUnits")?,
            write_max: ceiling(ceilings.max_write_request_units, "maxWriteRequestUnits")?,
        })
    };
    ceilings.map(convert).transpose()
}

fn warm(warm: Option<crd::WarmThroughput>, field: &str) -> Result<Option<Throughput>, SpecError> {
    let units =
        |units: Option<i64>, name: &str| positive(units.unwrap_or(1), || format!("{field}warmThroughput.{name}"));
    let convert = |warm: crd::WarmThroughput| {
        Ok(Throughput {
            read: units(warm.read_units_per_second, "readUnitsPerSecond")?,
            write: units(warm.write_units_per_second, "writeUnitsPerSecond")?,
        })
    };
    warm.map(convert).transpose()
}

fn positive(units: i64, field: impl FnOnce() -> String) -> Result<u64, SpecError> {
    match u64::try_from(units) {
        Ok(units) if units > 0 => Ok(units),
        _ => Err(SpecError::new(field(), format!("{units} is not a positive number"))),
    }
}

fn stream(stream: Option<&crd::StreamSpecification>) -> Result<Option<StreamView>, SpecError> {
    let wrong = |reason| Err(SpecError::new("streamSpecification.streamViewType", reason));
    match stream.map(|stream| (stream.stream_enabled, stream.stream_view_type)) {
        None | Some((false, None)) => Ok(None),
        Some((false, Some(_))) => wrong("it is only allowed when the stream is enabled"),
        Some((true, None)) => wrong("it is needed when the stream is enabled"),
        Some((true, Some(view))) => Ok(Some(match view {
            crd::StreamViewType::KeysOnly => StreamView::KeysOnly,
            crd::StreamViewType::NewImage => StreamView::NewImage,
            crd::StreamViewType::OldImage => StreamView::OldImage,
            crd::StreamViewType::NewAndOldImages => StreamView::NewAndOldImages,
        })),
    }
}
