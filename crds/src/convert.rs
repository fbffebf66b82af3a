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

/// Converts a specification and checks it. Where a range is declared instead of units, there are as many as it has at least.
pub fn to_model(spec: &crd::TableSpec) -> Result<TableSpec, SpecError> {
    to_model_with(spec, &|_| None)
}

/// The same for a table whose units are known, of the table itself (`None`) and of its indexes: where a range is declared,
/// they are the units, as far as the range allows.
pub fn to_model_with(
    spec: &crd::TableSpec,
    known: &dyn Fn(Option<&str>) -> Option<Throughput>,
) -> Result<TableSpec, SpecError> {
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
                throughput: throughput(
                    index.provisioned_throughput,
                    index.autoscaling.as_ref(),
                    known(Some(&index.index_name)),
                    &field,
                )?,
                on_demand: on_demand(index.on_demand_throughput, &field)?,
                warm: warm(index.warm_throughput, &field)?,
            })
        })?,
        billing: Some(match spec.billing_mode {
            crd::BillingMode::Provisioned => BillingMode::Provisioned,
            crd::BillingMode::PayPerRequest => BillingMode::PayPerRequest,
        }),
        throughput: throughput(spec.provisioned_throughput, spec.autoscaling.as_ref(), known(None), "")?,
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

fn throughput(
    fixed: Option<crd::ProvisionedThroughput>,
    ranges: Option<&crd::Autoscaling>,
    known: Option<Throughput>,
    field: &str,
) -> Result<Option<Throughput>, SpecError> {
    let range = |kind: fn(&crd::Autoscaling) -> Option<&crd::AutoscalingRange>| ranges.and_then(kind);
    let (read_range, write_range) = (range(|r| r.read.as_ref()), range(|r| r.write.as_ref()));
    if fixed.is_none() && read_range.is_none() && write_range.is_none() {
        return Ok(None);
    }
    let read = fixed.and_then(|units| units.read_capacity_units);
    let write = fixed.and_then(|units| units.write_capacity_units);
    Ok(Some(Throughput {
        read: units(
            read,
            read_range,
            known.map(|known| known.read),
            field,
            ("readCapacityUnits", "read"),
        )?,
        write: units(
            write,
            write_range,
            known.map(|known| known.write),
            field,
            ("writeCapacityUnits", "write"),
        )?,
    }))
}

/// Units of one kind: given, or from a range.
fn units(
    fixed: Option<i64>,
    range: Option<&crd::AutoscalingRange>,
    known: Option<u64>,
    field: &str,
    (name, kind): (&str, &str),
) -> Result<u64, SpecError> {
    let given = || format!("{field}provisionedThroughput.{name}");
    match (fixed, range) {
        (Some(units), None) => positive(units, given),
        (None, Some(range)) => {
            let (min, max) = bounds(range, &format!("{field}autoscaling.{kind}"))?;
            Ok(known.unwrap_or(min).clamp(min, max))
        }
        (Some(_), Some(_)) => {
            let message = format!("autoscaling.{kind} has a range for it: give one of both");
            Err(SpecError::new(given(), message))
        }
        (None, None) => {
            let message = format!("it is missing, and so is a range in autoscaling.{kind}");
            Err(SpecError::new(given(), message))
        }
    }
}

fn bounds(range: &crd::AutoscalingRange, field: &str) -> Result<(u64, u64), SpecError> {
    let min = positive(range.min, || format!("{field}.min"))?;
    let max = positive(range.max, || format!("{field}.max"))?;
    if min > max {
        let message = format!("{min} is above max, which is {max}");
        return Err(SpecError::new(format!("{field}.min"), message));
    }
    if !(20..=90).contains(&range.target_utilization) {
        let message = format!("{} is not between 20 and 90 per cent", range.target_utilization);
        return Err(SpecError::new(format!("{field}.targetUtilization"), message));
    }
    for (place, scheduled) in range.schedule.iter().enumerate() {
        let field = format!("{field}.schedule[{place}]");
        let least = positive(scheduled.min, || format!("{field}.min"))?;
        if least > max {
            let message = format!("{least} is above the range's max, which is {max}");
            return Err(SpecError::new(format!("{field}.min"), message));
        }
        for (name, time) in [("from", &scheduled.from), ("to", &scheduled.to)] {
            if minute_of_day(time).is_none() {
                let message = format!("{time:?} is no time of day; write one such as 08:30");
                return Err(SpecError::new(format!("{field}.{name}"), message));
            }
        }
    }
    Ok((min, max))
}

/// `08:30` in minutes since midnight.
pub fn minute_of_day(time: &str) -> Option<u64> {
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str, below: u64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|number| digits && *number < below)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
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

/// What is not given is zero there, and the other way round.
fn warm(warm: Option<crd::WarmThroughput>, field: &str) -> Result<Option<Throughput>, SpecError> {
    let units = |units: Option<i64>, name: &str| match units {
        None => Ok(0),
        Some(units) => positive(units, || format!("{field}warmThroughput.{name}")),
    };
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
                autoscaling: None,
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
        read_capacity_units: Some(declared_number(units.read)),
        write_capacity_units: Some(declared_number(units.write)),
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
    let given = |units| (units != 0).then(|| declared_number(units));
    crd::WarmThroughput {
        read_units_per_second: given(units.read),
        write_units_per_second: given(units.write),
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
