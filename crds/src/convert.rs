//! Between a Table resource's specification and the model's.
//!
//! [`to_model`] names the field where something does not fit; [`from_model`] declares a table that was made through the
//! API. The one after the other gives the same table.

use partita_model::schema::{IndexProjection, KeySchema, ScalarType, StreamView};
use partita_model::table::{
    BillingMode, Declaration, DeclaredGlobalIndex, DeclaredLocalIndex, DeclaredProjection, KeyElement, KeyKind,
    OnDemandThroughput, ProjectionKind, SpecError, SseSpec, TableClass, TableSpec, Throughput,
};

use crate::table as crd;

/// Converts a specification and checks it.
pub fn to_model(spec: &crd::TableSpec) -> Result<TableSpec, SpecError> {
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

/// What an API-made table's resource says besides CreateTable's parameters.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Copies of each partition.
    pub replicas: i32,
    /// Volumes.
    pub storage: Option<crd::Storage>,
}

/// Declares a table as the API made it (or changed it). It goes with its resource: `deletionPolicy: Delete`.
pub fn from_model(spec: &TableSpec, deployment: &Deployment) -> crd::TableSpec {
    crd::TableSpec {
        table_name: spec.name.clone(),
        attribute_definitions: spec.attributes.iter().map(declared_attribute).collect(),
        key_schema: declared_keys(&spec.keys),
        billing_mode: match spec.billing {
            BillingMode::Provisioned => crd::BillingMode::Provisioned,
            BillingMode::PayPerRequest => crd::BillingMode::PayPerRequest,
        },
        provisioned_throughput: declared_units(spec.billing, spec.throughput),
        on_demand_throughput: declared_ceilings(spec.billing, spec.on_demand),
        warm_throughput: spec.warm.map(declared_warm),
        global_secondary_indexes: spec
            .global
            .iter()
            .map(|index| crd::GlobalSecondaryIndex {
                index_name: index.name.clone(),
                key_schema: declared_keys(&index.keys),
                projection: declared_projection(&index.projection),
                provisioned_throughput: declared_units(spec.billing, index.throughput),
                on_demand_throughput: declared_ceilings(spec.billing, index.on_demand),
                warm_throughput: index.warm.map(declared_warm),
            })
            .collect(),
        local_secondary_indexes: spec
            .local
            .iter()
            .map(|index| crd::LocalSecondaryIndex {
                index_name: index.name.clone(),
                key_schema: declared_keys(&index.keys),
                projection: declared_projection(&index.projection),
            })
            .collect(),
        stream_specification: spec.stream.map(|view| crd::StreamSpecification {
            stream_enabled: true,
            stream_view_type: Some(declared_view(view)),
        }),
        time_to_live: spec.time_to_live.as_ref().map(|attribute| crd::TimeToLive {
            attribute_name: attribute.clone(),
            enabled: true,
        }),
        sse_specification: spec.sse.as_ref().map(|sse| crd::SseSpecification {
            enabled: sse.enabled,
            sse_type: sse.enabled.then(|| "KMS".to_owned()),
            kms_master_key_id: sse.key.clone(),
        }),
        table_class: match spec.class {
            TableClass::Standard => crd::TableClass::Standard,
            TableClass::StandardInfrequentAccess => crd::TableClass::StandardInfrequentAccess,
        },
        deletion_protection_enabled: spec.deletion_protection,
        tags: spec.tags.iter().map(declared_tag).collect(),
        replicas: deployment.replicas,
        storage: deployment.storage.clone(),
        scheduling: None,
        autoscaling: None,
        deletion_policy: crd::DeletionPolicy::Delete,
        bootstrap: None,
        paused: false,
    }
}

fn declared_attribute((name, kind): &(String, ScalarType)) -> crd::AttributeDefinition {
    crd::AttributeDefinition {
        attribute_name: name.clone(),
        attribute_type: match kind {
            ScalarType::S => crd::AttributeType::S,
            ScalarType::N => crd::AttributeType::N,
            ScalarType::B => crd::AttributeType::B,
        },
    }
}

fn declared_keys(keys: &KeySchema) -> Vec<crd::KeySchemaElement> {
    let element = |kind| {
        move |attribute: &partita_model::schema::KeyAttribute| crd::KeySchemaElement {
            attribute_name: attribute.name.clone(),
            key_type: kind,
        }
    };
    let hash = keys.hash.iter().map(element(crd::KeyType::Hash));
    hash.chain(keys.range.iter().map(element(crd::KeyType::Range)))
        .collect()
}

fn declared_projection(projection: &IndexProjection) -> crd::Projection {
    let (projection_type, non_key_attributes) = match projection {
        IndexProjection::All => (crd::ProjectionType::All, None),
        IndexProjection::KeysOnly => (crd::ProjectionType::KeysOnly, None),
        IndexProjection::Include(names) => (crd::ProjectionType::Include, Some(names.clone())),
    };
    crd::Projection {
        projection_type,
        non_key_attributes,
    }
}

fn declared_units(billing: BillingMode, units: Throughput) -> Option<crd::ProvisionedThroughput> {
    (billing == BillingMode::Provisioned).then(|| crd::ProvisionedThroughput {
        read_capacity_units: declared_number(units.read),
        write_capacity_units: declared_number(units.write),
    })
}

fn declared_ceilings(billing: BillingMode, ceilings: Option<OnDemandThroughput>) -> Option<crd::OnDemandThroughput> {
    let ceilings = ceilings.filter(|_| billing == BillingMode::PayPerRequest)?;
    Some(crd::OnDemandThroughput {
        max_read_request_units: ceilings.read_max.map(declared_number),
        max_write_request_units: ceilings.write_max.map(declared_number),
    })
}

fn declared_warm(units: Throughput) -> crd::WarmThroughput {
    crd::WarmThroughput {
        read_units_per_second: Some(declared_number(units.read)),
        write_units_per_second: Some(declared_number(units.write)),
    }
}

fn declared_view(view: StreamView) -> crd::StreamViewType {
    match view {
        StreamView::KeysOnly => crd::StreamViewType::KeysOnly,
        StreamView::NewImage => crd::StreamViewType::NewImage,
        StreamView::OldImage => crd::StreamViewType::OldImage,
        StreamView::NewAndOldImages => crd::StreamViewType::NewAndOldImages,
    }
}

fn declared_tag((key, value): &(String, String)) -> crd::Tag {
    crd::Tag {
        key: key.clone(),
        value: value.clone(),
    }
}

/// Units are bounded by DynamoDB's quotas, far below what a resource's numbers hold.
fn declared_number(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
