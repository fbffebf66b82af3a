//! From what a person declared to a [`TableSpec`]: the rules of CreateTable, in DynamoDB's order.
//!
//! 1. name and tags; 2. units against the billing mode; 3. attribute definitions; 4. the table's keys; 5. local
//!    indexes; 6. global indexes; 7. definitions that nothing uses.
//!
//! Source: "CreateTable", Amazon DynamoDB API Reference; "Service, account, and table quotas", Developer Guide;
//! "Multi-attribute keys", Developer Guide.

use std::collections::HashSet;

use crate::message::table as message;
use crate::schema::{IndexProjection, KeyAttribute, KeySchema, ScalarType, StreamView};

use super::rules::{
    GLOBAL_INDEXES_MAX, LOCAL_INDEXES_MAX, Operation, check_ceilings, check_index_units, check_units, check_whole,
    table_name_fits,
};
use super::{
    BillingMode, GlobalIndexSpec, LocalIndexSpec, OnDemandThroughput, SpecError, SseSpec, TableClass, TableSpec,
    Throughput,
};

/// Hash attributes, and range attributes, of a global index.
const GLOBAL_INDEX_KEYS_MAX: usize = 4;

/// `HASH` or `RANGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Of the partition key.
    Hash,
    /// Of the sort key.
    Range,
}

/// `KeySchemaElement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyElement {
    /// The attribute.
    pub name: String,
    /// What it is.
    pub kind: KeyKind,
}

/// `ProjectionType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectionKind {
    /// Everything.
    All,
    /// Nothing but keys.
    KeysOnly,
    /// Some attributes.
    Include,
}

/// `Projection` as declared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeclaredProjection {
    /// `ProjectionType`.
    pub kind: Option<ProjectionKind>,
    /// `NonKeyAttributes`.
    pub attributes: Option<Vec<String>>,
}

/// A local index as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredLocalIndex {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: Vec<KeyElement>,
    /// What its rows hold.
    pub projection: DeclaredProjection,
}

/// A global index as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredGlobalIndex {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: Vec<KeyElement>,
    /// What its rows hold.
    pub projection: DeclaredProjection,
    /// Its units.
    pub throughput: Option<Throughput>,
    /// Its ceilings when on demand.
    pub on_demand: Option<OnDemandThroughput>,
    /// `WarmThroughput`.
    pub warm: Option<Throughput>,
}

/// A table as declared by a person: CreateTable's parameters, or a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declaration {
    /// The table's name.
    pub name: String,
    /// `AttributeDefinitions`.
    pub attributes: Vec<(String, ScalarType)>,
    /// `KeySchema`.
    pub keys: Vec<KeyElement>,
    /// `LocalSecondaryIndexes`.
    pub local: Option<Vec<DeclaredLocalIndex>>,
    /// `GlobalSecondaryIndexes`.
    pub global: Option<Vec<DeclaredGlobalIndex>>,
    /// `BillingMode`.
    pub billing: Option<BillingMode>,
    /// `ProvisionedThroughput`.
    pub throughput: Option<Throughput>,
    /// `OnDemandThroughput`.
    pub on_demand: Option<OnDemandThroughput>,
    /// `WarmThroughput`.
    pub warm: Option<Throughput>,
    /// `StreamSpecification`, when enabled.
    pub stream: Option<StreamView>,
    /// `TableClass`.
    pub class: TableClass,
    /// `DeletionProtectionEnabled`.
    pub deletion_protection: bool,
    /// `SSESpecification`.
    pub sse: Option<SseSpec>,
    /// The attribute of `TimeToLiveSpecification`, when enabled.
    pub time_to_live: Option<String>,
    /// `Tags`.
    pub tags: Vec<(String, String)>,
}

impl Declaration {
    /// The specification, if every rule holds; else the first that does not.
    pub fn resolve(self) -> Result<TableSpec, SpecError> {
        if !table_name_fits(&self.name) {
            return Err(SpecError::new("tableName", message::TABLE_NAME_INVALID));
        }
        let billing = self.billing.unwrap_or_default();
        check_units("", billing, self.throughput, self.on_demand)?;
        let mut known = HashSet::with_capacity(self.attributes.len());
        for (place, (name, _)) in self.attributes.iter().enumerate() {
            if !known.insert(name) {
                let field = format!("attributeDefinitions[{place}]");
                return Err(SpecError::new(field, message::definition_duplicate(name)));
            }
        }
        let keys = resolve_keys(&self.keys, &self.attributes, "keySchema")?;
        if self.local.is_none() && self.global.is_none() && self.attributes.len() != self.keys.len() {
            return Err(SpecError::new(
                "attributeDefinitions",
                message::KEYS_AND_DEFINITIONS_DIFFER,
            ));
        }
        let local = resolve_local(self.local.as_deref(), &keys, &self.attributes)?;
        let global = resolve_global(self.global.as_deref(), billing, &self.attributes)?;
        let mut tags = self.tags;
        tags.sort();
        let spec = TableSpec {
            name: self.name,
            attributes: self.attributes,
            keys,
            local,
            global,
            billing,
            throughput: self.throughput.unwrap_or_default(),
            on_demand: self.on_demand.map(OnDemandThroughput::kept),
            warm: self.warm,
            stream: self.stream,
            class: self.class,
            deletion_protection: self.deletion_protection,
            sse: self.sse,
            time_to_live: self.time_to_live,
            tags,
        };
        check_whole(&spec)?;
        Ok(spec)
    }
}

impl TableSpec {
    /// Checks every rule of [`Declaration::resolve`] again, for specifications that were put together by hand.
    pub fn validate(&self) -> Result<(), SpecError> {
        let on_demand = self.billing == BillingMode::PayPerRequest;
        let units = |throughput: Throughput| (!on_demand || throughput != Throughput::default()).then_some(throughput);
        let declaration = Declaration {
            name: self.name.clone(),
            attributes: self.attributes.clone(),
            keys: declared_keys(&self.keys),
            local: (!self.local.is_empty()).then(|| {
                let declared = |index: &LocalIndexSpec| DeclaredLocalIndex {
                    name: index.name.clone(),
                    keys: declared_keys(&index.keys),
                    projection: declared_projection(&index.projection),
                };
                self.local.iter().map(declared).collect()
            }),
            global: (!self.global.is_empty()).then(|| {
                let declared = |index: &GlobalIndexSpec| DeclaredGlobalIndex {
                    name: index.name.clone(),
                    keys: declared_keys(&index.keys),
                    projection: declared_projection(&index.projection),
                    throughput: units(index.throughput),
                    on_demand: index.on_demand,
                    warm: index.warm,
                };
                self.global.iter().map(declared).collect()
            }),
            billing: Some(self.billing),
            throughput: units(self.throughput),
            on_demand: self.on_demand,
            warm: self.warm,
            stream: self.stream,
            class: self.class,
            deletion_protection: self.deletion_protection,
            sse: self.sse.clone(),
            time_to_live: self.time_to_live.clone(),
            tags: self.tags.clone(),
        };
        declaration.resolve().map(drop)
    }
}

/// The types of a key schema's attributes.
fn resolve_keys(
    elements: &[KeyElement],
    attributes: &[(String, ScalarType)],
    field: &str,
) -> Result<KeySchema, SpecError> {
    let keys = typed(elements, attributes, field)?;
    let error = |message: &str| Err(SpecError::new(field, message));
    if elements.first().is_none_or(|element| element.kind != KeyKind::Hash) {
        return error(message::FIRST_KEY_NOT_HASH);
    }
    if elements.len() > 1 && elements[0].name == elements[1].name {
        return error(message::SAME_KEY_TWICE);
    }
    if keys.hash.len() > 1 || keys.range.len() > 1 {
        return error(message::SECOND_KEY_NOT_RANGE);
    }
    Ok(keys)
}

fn typed(elements: &[KeyElement], attributes: &[(String, ScalarType)], field: &str) -> Result<KeySchema, SpecError> {
    let mut keys = KeySchema {
        hash: Vec::new(),
        range: Vec::new(),
    };
    for element in elements {
        let Some((name, kind)) = attributes.iter().find(|(name, _)| *name == element.name) else {
            return Err(SpecError::new(field, not_defined(elements, attributes)));
        };
        let attribute = KeyAttribute {
            name: name.clone(),
            kind: *kind,
        };
        match element.kind {
            KeyKind::Hash => keys.hash.push(attribute),
            KeyKind::Range => keys.range.push(attribute),
        }
    }
    Ok(keys)
}

/// DynamoDB has two sentences for it: one when there are fewer definitions than key attributes, one when they differ.
fn not_defined(elements: &[KeyElement], attributes: &[(String, ScalarType)]) -> String {
    if attributes.len() < elements.len() {
        return message::KEY_NOT_DEFINED.to_owned();
    }
    let keys = elements.iter().map(|element| element.name.as_str());
    message::keys_not_defined(keys, attributes.iter().map(|(name, _)| name.as_str()))
}

fn resolve_local(
    declared: Option<&[DeclaredLocalIndex]>,
    table: &KeySchema,
    attributes: &[(String, ScalarType)],
) -> Result<Vec<LocalIndexSpec>, SpecError> {
    let Some(declared) = declared else {
        return Ok(Vec::new());
    };
    if declared.is_empty() {
        return Err(SpecError::new("localSecondaryIndexes", message::LOCAL_INDEXES_EMPTY));
    }
    let mut resolved = Vec::new();
    // Those beyond the limit need no look: `check_whole` refuses the table for one more than it.
    for (place, index) in declared.iter().take(LOCAL_INDEXES_MAX + 1).enumerate() {
        let field = format!("localSecondaryIndexes[{place}]");
        if table.range.is_empty() {
            return Err(SpecError::new(field, message::LOCAL_INDEX_WITHOUT_TABLE_RANGE));
        }
        let keys = resolve_keys(&index.keys, attributes, &format!("{field}.keySchema"))?;
        if keys.range.is_empty() {
            return Err(SpecError::new(
                format!("{field}.keySchema"),
                message::index_without_range(&index.name),
            ));
        }
        let (index_hash, table_hash) = (&keys.hash[0].name, &table.hash[0].name);
        if index_hash != table_hash {
            let message = message::index_with_other_hash(&index.name, index_hash, table_hash);
            return Err(SpecError::new(format!("{field}.keySchema"), message));
        }
        resolved.push(LocalIndexSpec {
            name: index.name.clone(),
            keys,
            projection: resolve_projection(&index.projection, &field)?,
        });
    }
    Ok(resolved)
}

fn resolve_global(
    declared: Option<&[DeclaredGlobalIndex]>,
    billing: BillingMode,
    attributes: &[(String, ScalarType)],
) -> Result<Vec<GlobalIndexSpec>, SpecError> {
    let Some(declared) = declared else {
        return Ok(Vec::new());
    };
    if declared.is_empty() {
        return Err(SpecError::new("globalSecondaryIndexes", message::GLOBAL_INDEXES_EMPTY));
    }
    let mut resolved = Vec::new();
    for (place, index) in declared.iter().take(GLOBAL_INDEXES_MAX + 1).enumerate() {
        let field = format!("globalSecondaryIndexes[{place}]");
        resolved.push(resolve_global_index(index, attributes, &field)?);
        check_index_units(
            &format!("{field}.provisionedThroughput"),
            &index.name,
            Operation::Create,
            billing,
            index.throughput,
        )?;
        check_ceilings(
            &format!("{field}.onDemandThroughput"),
            &format!("index: {}", index.name),
            Operation::Create,
            billing,
            index.on_demand,
        )?;
    }
    Ok(resolved)
}

/// One global index: of a new table, or added to one that is there. Whether its units fit the billing mode is for the
/// caller to say.
pub fn resolve_global_index(
    index: &DeclaredGlobalIndex,
    attributes: &[(String, ScalarType)],
    field: &str,
) -> Result<GlobalIndexSpec, SpecError> {
    let keys_field = format!("{field}.keySchema");
    let error = |message: String| Err(SpecError::new(&keys_field, message));
    if index.keys.len() > 2 * GLOBAL_INDEX_KEYS_MAX {
        // One of its kinds has too many: nothing else is looked at in a key schema that may be as long as a request.
        let hash = index
            .keys
            .iter()
            .filter(|element| element.kind == KeyKind::Hash)
            .count();
        let kind = if hash > GLOBAL_INDEX_KEYS_MAX { "HASH" } else { "RANGE" };
        return error(message::index_keys_too_many(kind));
    }
    let keys = typed(&index.keys, attributes, &keys_field)?;
    if index.keys.first().is_none_or(|element| element.kind != KeyKind::Hash) {
        return error(message::FIRST_KEY_NOT_HASH.to_owned());
    }
    for (place, element) in index.keys.iter().enumerate() {
        if index.keys[..place].iter().any(|earlier| earlier.name == element.name) {
            return error(message::SAME_KEY_TWICE.to_owned());
        }
    }
    // Hash attributes first, then range attributes.
    if index
        .keys
        .windows(2)
        .any(|pair| pair[0].kind == KeyKind::Range && pair[1].kind == KeyKind::Hash)
    {
        return error(message::HASH_AFTER_RANGE.to_owned());
    }
    for (count, kind) in [(keys.hash.len(), "HASH"), (keys.range.len(), "RANGE")] {
        if count > GLOBAL_INDEX_KEYS_MAX {
            return error(message::index_keys_too_many(kind));
        }
    }
    Ok(GlobalIndexSpec {
        name: index.name.clone(),
        keys,
        projection: resolve_projection(&index.projection, field)?,
        throughput: index.throughput.unwrap_or_default(),
        on_demand: index.on_demand.map(OnDemandThroughput::kept),
        warm: index.warm,
    })
}

fn resolve_projection(declared: &DeclaredProjection, field: &str) -> Result<IndexProjection, SpecError> {
    let error = |message: String| Err(SpecError::new(format!("{field}.projection"), message));
    match (
        declared.kind,
        declared
            .attributes
            .as_deref()
            .filter(|attributes| !attributes.is_empty()),
    ) {
        (None, _) => error(message::projection_unknown()),
        (Some(ProjectionKind::All), Some(_)) => error(message::projection_with_attributes("ALL")),
        (Some(ProjectionKind::KeysOnly), Some(_)) => error(message::projection_with_attributes("KEYS_ONLY")),
        (Some(ProjectionKind::Include), None) => error(message::projection_without_attributes()),
        (Some(ProjectionKind::All), None) => Ok(IndexProjection::All),
        (Some(ProjectionKind::KeysOnly), None) => Ok(IndexProjection::KeysOnly),
        (Some(ProjectionKind::Include), Some(attributes)) => Ok(IndexProjection::Include(attributes.to_vec())),
    }
}

fn declared_keys(keys: &KeySchema) -> Vec<KeyElement> {
    let element = |kind| {
        move |attribute: &KeyAttribute| KeyElement {
            name: attribute.name.clone(),
            kind,
        }
    };
    let hash = keys.hash.iter().map(element(KeyKind::Hash));
    hash.chain(keys.range.iter().map(element(KeyKind::Range))).collect()
}

fn declared_projection(projection: &IndexProjection) -> DeclaredProjection {
    let (kind, attributes) = match projection {
        IndexProjection::All => (ProjectionKind::All, None),
        IndexProjection::KeysOnly => (ProjectionKind::KeysOnly, None),
        IndexProjection::Include(attributes) => (ProjectionKind::Include, Some(attributes.clone())),
    };
    DeclaredProjection {
        kind: Some(kind),
        attributes,
    }
}
