//! The rules of UpdateTable, in DynamoDB's order, and the specification after an update.
//!
//! Source: "UpdateTable", Amazon DynamoDB API Reference.

use std::collections::HashSet;

use super::rules::{Operation, check_bounds, check_ceilings, check_index_units, check_whole};
use super::{
    BillingMode, GlobalIndexSpec, GlobalIndexUpdate, OnDemandThroughput, SpecError, Status, TableDescription,
    TableSpec, TableUpdate, Throughput,
};
use crate::error::ErrorCode;
use crate::message;
use crate::message::table as text;

impl TableUpdate {
    /// Whether it changes nothing at all.
    pub fn is_empty(&self) -> bool {
        *self
            == Self {
                attributes: self.attributes.clone(),
                ..Self::default()
            }
    }
}

impl TableDescription {
    /// The specification after an update, if the update is allowed on the table as it is. An index that is to be
    /// deleted is still in it: it is the description's to take it out when it is gone.
    pub fn updated(&self, update: &TableUpdate) -> Result<TableSpec, SpecError> {
        let gives_up = self.gives_up_building(update);
        if !gives_up {
            self.check_index_turn(update)?;
            self.check_changeable()?;
        }
        let mut spec = self.spec.clone();
        apply_billing(&mut spec, update)?;
        apply_streams(&mut spec, update)?;
        if let Some(class) = update.class {
            spec.class = class;
        }
        if let Some(protected) = update.deletion_protection {
            spec.deletion_protection = protected;
        }
        if let Some(sse) = &update.sse {
            spec.sse = Some(sse.clone());
        }
        if let Some(warm) = update.warm {
            spec.warm = Some(warmer(spec.warm, warm));
        }
        self.apply_index_updates(&mut spec, update)?;
        check_index_billing(&spec, update)?;
        keep_used_definitions(&mut spec, update)?;
        check_whole(&spec)?;
        Ok(spec)
    }

    /// AWS only ever raises warm throughput when asked by a call; a manifest may lower it.
    pub fn check_not_cooler(&self, update: &TableUpdate) -> Result<(), SpecError> {
        let spec = &self.spec;
        if let Some(asked) = update.warm {
            check_warm(
                "table",
                asked,
                Throughput::warm(spec.warm, spec.billing, spec.throughput),
            )?;
        }
        for change in &update.global {
            match change {
                GlobalIndexUpdate::Create(index) => {
                    check_not_cool("index", index.warm, spec.billing, index.throughput)?
                }
                GlobalIndexUpdate::Update {
                    name,
                    warm: Some(asked),
                    ..
                } => {
                    if let Some(index) = spec.global.iter().find(|index| &index.name == name) {
                        let now = Throughput::warm(index.warm, spec.billing, index.throughput);
                        check_warm("index", *asked, now)?;
                    }
                }
                GlobalIndexUpdate::Update { warm: None, .. } | GlobalIndexUpdate::Delete(_) => {}
            }
        }
        Ok(())
    }

    /// Changes and deletion wait until the table is active.
    pub fn check_changeable(&self) -> Result<(), SpecError> {
        let being = match self.status {
            Status::Active => return Ok(()),
            Status::Creating => "created",
            Status::Updating => "updated",
            Status::Deleting => "deleted",
        };
        Err(SpecError {
            field: "tableName".to_owned(),
            code: ErrorCode::ResourceInUse,
            message: text::table_in_use(&self.spec.name, being),
        })
    }

    /// An index can be given up while it is being built, although the table is being updated.
    fn gives_up_building(&self, update: &TableUpdate) -> bool {
        let only_indexes = TableUpdate {
            global: Vec::new(),
            ..update.clone()
        }
        .is_empty();
        let building = |name: &String| {
            self.global
                .iter()
                .any(|state| state.name == *name && state.backfilling == Some(true))
        };
        matches!(self.status, Status::Active | Status::Updating)
            && only_indexes
            && matches!(&update.global[..], [GlobalIndexUpdate::Delete(name)] if building(name))
    }

    /// One index is made or removed at a time. While one is, that is said before that the table is being updated.
    fn check_index_turn(&self, update: &TableUpdate) -> Result<(), SpecError> {
        let online = |change: &&GlobalIndexUpdate| !matches!(change, GlobalIndexUpdate::Update { .. });
        let there = matches!(self.status, Status::Active | Status::Updating);
        let busy = there
            && self
                .global
                .iter()
                .any(|state| matches!(state.status, Status::Creating | Status::Deleting));
        let changes = update.global.iter().filter(online).count();
        if changes > 1 || (busy && changes > 0) {
            return Err(SpecError {
                field: "globalSecondaryIndexUpdates".to_owned(),
                code: ErrorCode::LimitExceeded,
                message: text::ONE_INDEX_AT_A_TIME.to_owned(),
            });
        }
        Ok(())
    }

    fn apply_index_updates(&self, spec: &mut TableSpec, update: &TableUpdate) -> Result<(), SpecError> {
        let field = "globalSecondaryIndexUpdates";
        let mut known = HashSet::with_capacity(update.global.len());
        for name in update.global.iter().map(GlobalIndexUpdate::index_name) {
            if !known.insert(name) {
                return Err(SpecError::new(field, text::index_changed_twice(name)));
            }
        }
        for change in &update.global {
            match change {
                GlobalIndexUpdate::Create(index) => create_index(spec, index)?,
                GlobalIndexUpdate::Update {
                    name,
                    throughput,
                    on_demand,
                    warm,
                } => {
                    let of = format!("index: {name}");
                    check_ceilings(field, &of, Operation::Update, spec.billing, *on_demand)?;
                    update_index(existing(spec, name)?, *throughput, *on_demand, *warm)?;
                }
                GlobalIndexUpdate::Delete(name) => {
                    existing(spec, name)?;
                }
            }
        }
        Ok(())
    }
}

impl GlobalIndexUpdate {
    /// The index it is about.
    pub fn index_name(&self) -> &str {
        match self {
            Self::Create(index) => &index.name,
            Self::Update { name, .. } | Self::Delete(name) => name,
        }
    }
}

fn apply_billing(spec: &mut TableSpec, update: &TableUpdate) -> Result<(), SpecError> {
    let field = "provisionedThroughput";
    let billing = update.billing.unwrap_or(spec.billing);
    let switched = billing != spec.billing;
    match (billing, update.throughput) {
        (BillingMode::PayPerRequest, Some(_)) => return Err(SpecError::new(field, text::UNITS_WITH_ON_DEMAND)),
        (BillingMode::PayPerRequest, None) if switched => {
            spec.throughput = Throughput::default();
            for index in &mut spec.global {
                index.throughput = Throughput::default();
            }
        }
        (BillingMode::Provisioned, None) if switched => return Err(SpecError::new(field, text::UNITS_REQUIRED)),
        (BillingMode::Provisioned, Some(units)) => {
            check_bounds(field, units)?;
            if units == spec.throughput && !switched && update.global.is_empty() {
                return Err(SpecError::new(
                    field,
                    text::units_unchanged("table", "table", units.read, units.write),
                ));
            }
            spec.throughput = units;
        }
        (BillingMode::PayPerRequest | BillingMode::Provisioned, None) => {}
    }
    if switched && billing == BillingMode::Provisioned {
        spec.on_demand = None;
        for index in &mut spec.global {
            index.on_demand = None;
        }
    }
    if let Some(ceilings) = update.on_demand {
        check_ceilings(
            "onDemandThroughput",
            "table",
            Operation::Update,
            billing,
            Some(ceilings),
        )?;
        spec.on_demand = merged(spec.on_demand, ceilings);
    }
    spec.billing = billing;
    Ok(())
}

/// A member that is not given stays as it was.
fn merged(current: Option<OnDemandThroughput>, update: OnDemandThroughput) -> Option<OnDemandThroughput> {
    let current = current.unwrap_or_default();
    let merged = OnDemandThroughput {
        read_max: update.read_max.or(current.read_max),
        write_max: update.write_max.or(current.write_max),
    };
    Some(merged.kept())
}

fn apply_streams(spec: &mut TableSpec, update: &TableUpdate) -> Result<(), SpecError> {
    let field = "streamSpecification";
    match (update.stream, spec.stream) {
        (None, _) => {}
        (Some(Some(_)), Some(_)) => return Err(SpecError::new(field, text::stream_already_on(&spec.name))),
        (Some(None), None) => return Err(SpecError::new(field, text::stream_already_off(&spec.name))),
        (Some(wanted), _) => spec.stream = wanted,
    }
    Ok(())
}

fn create_index(spec: &mut TableSpec, index: &GlobalIndexSpec) -> Result<(), SpecError> {
    let field = "globalSecondaryIndexUpdates";
    let taken = spec.global.iter().any(|known| known.name == index.name)
        || spec.local.iter().any(|known| known.name == index.name);
    if taken {
        return Err(SpecError::new(field, text::INDEX_EXISTS));
    }
    let units = (index.throughput != Throughput::default()).then_some(index.throughput);
    check_index_units(field, &index.name, Operation::Update, spec.billing, units)?;
    let of = format!("index: {}", index.name);
    check_ceilings(field, &of, Operation::Update, spec.billing, index.on_demand)?;
    spec.global.push(index.clone());
    Ok(())
}

fn update_index(
    index: &mut GlobalIndexSpec,
    throughput: Option<Throughput>,
    on_demand: Option<OnDemandThroughput>,
    warm: Option<Throughput>,
) -> Result<(), SpecError> {
    let field = "globalSecondaryIndexUpdates";
    if let Some(units) = throughput {
        check_bounds(field, units)?;
        if units == index.throughput {
            let what = format!("index {}", index.name);
            return Err(SpecError::new(
                field,
                text::units_unchanged(&what, "index", units.read, units.write),
            ));
        }
        index.throughput = units;
    }
    if let Some(ceilings) = on_demand {
        index.on_demand = merged(index.on_demand, ceilings);
    }
    index.warm = warm.map(|warm| warmer(index.warm, warm)).or(index.warm);
    Ok(())
}

/// A member that is not given, which is zero, stays as it was.
fn warmer(current: Option<Throughput>, update: Throughput) -> Throughput {
    let current = current.unwrap_or_default();
    let given = |update: u64, current: u64| if update == 0 { current } else { update };
    Throughput {
        read: given(update.read, current.read),
        write: given(update.write, current.write),
    }
}

/// A new table or index is asked to be as warm at least as its mode and units make it anyway.
fn check_not_cool(
    of: &str,
    asked: Option<Throughput>,
    billing: BillingMode,
    units: Throughput,
) -> Result<(), SpecError> {
    let anyway = Throughput::warm(None, billing, units);
    check_warm(of, asked.unwrap_or_default(), anyway)
}

/// A member that is not given, which is zero, asks for nothing.
fn check_warm(of: &str, asked: Throughput, now: Throughput) -> Result<(), SpecError> {
    for (member, asked, now) in [
        ("ReadUnitsPerSecond", asked.read, now.read),
        ("WriteUnitsPerSecond", asked.write, now.write),
    ] {
        if (1..now).contains(&asked) {
            return Err(SpecError::new("warmThroughput", text::warm_lower(member, of)));
        }
    }
    Ok(())
}

fn existing<'a>(spec: &'a mut TableSpec, name: &str) -> Result<&'a mut GlobalIndexSpec, SpecError> {
    spec.global
        .iter_mut()
        .find(|index| index.name == name)
        .ok_or_else(|| SpecError {
            field: "globalSecondaryIndexUpdates".to_owned(),
            code: ErrorCode::ResourceNotFound,
            message: message::TABLE_NOT_FOUND.to_owned(),
        })
}

/// Every index has units on a provisioned table, and none on an on-demand one.
fn check_index_billing(spec: &TableSpec, update: &TableUpdate) -> Result<(), SpecError> {
    for index in &spec.global {
        let deleted = update
            .global
            .iter()
            .any(|change| matches!(change, GlobalIndexUpdate::Delete(name) if *name == index.name));
        if !deleted {
            let units = (index.throughput != Throughput::default()).then_some(index.throughput);
            let field = "globalSecondaryIndexUpdates";
            check_index_units(field, &index.name, Operation::Update, spec.billing, units)?;
        }
    }
    Ok(())
}

/// Definitions of the update are added as far as keys use them; the others are no error: tools send a table's whole
/// list.
fn keep_used_definitions(spec: &mut TableSpec, update: &TableUpdate) -> Result<(), SpecError> {
    for (name, kind) in &update.attributes {
        match spec.attributes.iter().find(|(known, _)| known == name) {
            Some((_, known)) if known != kind => {
                return Err(SpecError::new("attributeDefinitions", text::definition_conflict(name)));
            }
            Some(_) => {}
            None if spec.keys_used().contains(&name.as_str()) => spec.attributes.push((name.clone(), *kind)),
            None => {}
        }
    }
    Ok(())
}

impl TableSpec {
    /// AWS does not make a table or an index less warm than it is anyway when asked by a call
    /// (hashicorp/terraform-provider-aws#49895: the least depends on mode and units); a manifest may say so.
    pub fn check_not_cool(&self) -> Result<(), SpecError> {
        check_not_cool("table", self.warm, self.billing, self.throughput)?;
        for index in &self.global {
            check_not_cool("index", index.warm, self.billing, index.throughput)?;
        }
        Ok(())
    }

    /// Takes a global index out, and the definitions that only it used.
    pub fn remove_global_index(&mut self, name: &str) {
        self.global.retain(|index| index.name != name);
        let used: Vec<String> = self.keys_used().into_iter().map(str::to_owned).collect();
        self.attributes.retain(|(name, _)| used.contains(name));
    }
}
