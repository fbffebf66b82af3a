//! Rules about parts of a specification that creating, updating and reading manifests share: names, units, tags, and the
//! whole.

use std::collections::HashSet;

use crate::message::table as message;
use crate::schema::{IndexProjection, KeySchema};

use super::{BillingMode, OnDemandThroughput, SpecError, TableSpec, Throughput};

pub(super) const LOCAL_INDEXES_MAX: usize = 5;
pub(super) const GLOBAL_INDEXES_MAX: usize = 20;
/// Over all indexes of a table.
const PROJECTED_ATTRIBUTES_MAX: usize = 100;
/// DynamoDB's own bound on units that no account's quota reaches.
const UNITS_MAX: u64 = 1_000_000_000_000;
const TABLE_NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=255;
const TAGS_MAX: usize = 50;
const TAG_PREFIX_RESERVED: &str = "aws:";

/// Which operation checks a rule: DynamoDB words the same rule differently in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// CreateTable, and manifests.
    Create,
    /// UpdateTable.
    Update,
}

/// Whether a table (or an index) may have this name.
pub fn table_name_fits(name: &str) -> bool {
    TABLE_NAME_CHARS.contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Rules about a table's tags, all of them together.
pub fn check_tags(tags: &[(String, String)]) -> Result<(), SpecError> {
    let mut known = HashSet::with_capacity(tags.len());
    for (place, (key, _)) in tags.iter().enumerate() {
        let field = format!("tags[{place}]");
        if key.starts_with(TAG_PREFIX_RESERVED) {
            return Err(SpecError::new(field, message::TAG_RESERVED));
        }
        if !known.insert(key) {
            return Err(SpecError::new(field, message::tag_duplicate(key)));
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(SpecError::new("tags", message::TAGS_TOO_MANY));
    }
    Ok(())
}

/// Rules that look at a whole specification: also after an update.
pub(super) fn check_whole(spec: &TableSpec) -> Result<(), SpecError> {
    if spec.local.len() > LOCAL_INDEXES_MAX {
        return Err(SpecError::new("localSecondaryIndexes", message::LOCAL_INDEXES_TOO_MANY));
    }
    if spec.global.len() > GLOBAL_INDEXES_MAX {
        return Err(SpecError::new(
            "globalSecondaryIndexes",
            message::GLOBAL_INDEXES_TOO_MANY,
        ));
    }
    let names = |spec: &'_ TableSpec| -> Vec<(String, String)> {
        let local = spec.local.iter().enumerate();
        let local =
            local.map(|(place, index)| (format!("localSecondaryIndexes[{place}].indexName"), index.name.clone()));
        let global = spec.global.iter().enumerate();
        let global =
            global.map(|(place, index)| (format!("globalSecondaryIndexes[{place}].indexName"), index.name.clone()));
        local.chain(global).collect()
    };
    let names = names(spec);
    for (place, (field, name)) in names.iter().enumerate() {
        if !table_name_fits(name) {
            return Err(SpecError::new(field, message::TABLE_NAME_INVALID));
        }
        if names[..place].iter().any(|(_, earlier)| earlier == name) {
            return Err(SpecError::new(field, message::index_duplicate(name)));
        }
    }
    let projections = spec
        .local
        .iter()
        .map(|index| &index.projection)
        .chain(spec.global.iter().map(|index| &index.projection));
    let projected = |projection: &IndexProjection| match projection {
        IndexProjection::Include(attributes) => attributes.len(),
        IndexProjection::All | IndexProjection::KeysOnly => 0,
    };
    if projections.map(projected).sum::<usize>() > PROJECTED_ATTRIBUTES_MAX {
        return Err(SpecError::new("globalSecondaryIndexes", message::PROJECTED_TOO_MANY));
    }
    let used = spec.keys_used();
    if spec.attributes.iter().any(|(name, _)| !used.contains(&name.as_str())) {
        let defined = spec.attributes.iter().map(|(name, _)| name.as_str());
        return Err(SpecError::new(
            "attributeDefinitions",
            message::definitions_not_used(defined, used),
        ));
    }
    check_tags(&spec.tags)
}

/// Units against the billing mode. `index` is empty for the table itself.
pub(super) fn check_units(
    field: &str,
    billing: BillingMode,
    throughput: Option<Throughput>,
    on_demand: Option<OnDemandThroughput>,
) -> Result<(), SpecError> {
    let field = |member: &str| format!("{field}{member}");
    match (billing, throughput) {
        (BillingMode::Provisioned, None) => {
            return Err(SpecError::new(field("provisionedThroughput"), message::UNITS_REQUIRED));
        }
        (BillingMode::PayPerRequest, Some(_)) => {
            return Err(SpecError::new(
                field("provisionedThroughput"),
                message::UNITS_WITH_ON_DEMAND,
            ));
        }
        (BillingMode::Provisioned, Some(throughput)) => check_bounds(&field("provisionedThroughput"), throughput)?,
        (BillingMode::PayPerRequest, None) => {}
    }
    check_ceilings(
        &field("onDemandThroughput"),
        "table",
        Operation::Create,
        billing,
        on_demand,
    )
}

/// Ceilings against the billing mode; `of` is `table` or `index: i`.
pub(super) fn check_ceilings(
    field: &str,
    of: &str,
    operation: Operation,
    billing: BillingMode,
    ceilings: Option<OnDemandThroughput>,
) -> Result<(), SpecError> {
    let ceilings = ceilings.unwrap_or_default();
    for (ceiling, member) in [
        (ceilings.read_max, "MaxReadRequestUnits"),
        (ceilings.write_max, "MaxWriteRequestUnits"),
    ] {
        let Some(ceiling) = ceiling else { continue };
        let message = match (billing, operation) {
            (BillingMode::Provisioned, Operation::Create) => message::new_ceiling_with_provisioned(member),
            (BillingMode::Provisioned, Operation::Update) => message::ceiling_with_provisioned(member),
            (BillingMode::PayPerRequest, _) if ceiling == 0 => message::ceiling_out_of_range(member, of),
            (BillingMode::PayPerRequest, _) => continue,
        };
        return Err(SpecError::new(field, message));
    }
    Ok(())
}

/// Whether an index's units fit the billing mode.
pub(super) fn check_index_units(
    field: &str,
    name: &str,
    operation: Operation,
    billing: BillingMode,
    throughput: Option<Throughput>,
) -> Result<(), SpecError> {
    let message = match (billing, throughput, operation) {
        (BillingMode::Provisioned, None, Operation::Create) => message::new_index_units_required(name),
        (BillingMode::Provisioned, None, Operation::Update) => message::index_units_required(name),
        (BillingMode::PayPerRequest, Some(_), Operation::Create) => message::new_index_units_with_on_demand(name),
        (BillingMode::PayPerRequest, Some(_), Operation::Update) => message::index_units_with_on_demand(name),
        (BillingMode::Provisioned, Some(throughput), _) => return check_bounds(field, throughput),
        (BillingMode::PayPerRequest, None, _) => return Ok(()),
    };
    Err(SpecError::new(field, message))
}

pub(super) fn check_bounds(field: &str, throughput: Throughput) -> Result<(), SpecError> {
    for (value, member) in [
        (throughput.read, "ReadCapacityUnits"),
        (throughput.write, "WriteCapacityUnits"),
    ] {
        if !(1..=UNITS_MAX).contains(&value) {
            return Err(SpecError::new(field, message::units_out_of_bounds(value, member)));
        }
    }
    Ok(())
}

impl TableSpec {
    /// Names of the key attributes of table and indexes, each once, in the order of the definitions' first use.
    pub(super) fn keys_used(&self) -> Vec<&str> {
        let indexes = self
            .local
            .iter()
            .map(|index| &index.keys)
            .chain(self.global.iter().map(|index| &index.keys));
        let mut used: Vec<&str> = Vec::new();
        for attribute in std::iter::once(&self.keys)
            .chain(indexes)
            .flat_map(KeySchema::attributes)
        {
            if !used.contains(&attribute.name.as_str()) {
                used.push(&attribute.name);
            }
        }
        used
    }
}
