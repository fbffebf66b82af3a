//! From a table as it is to a table as it is wanted: what may change, and what has to be done for it.
//!
//! UpdateTable and manifests come together here: both name a specification, [`Record::retarget`] turns it into intents in
//! the record, and [`super::Step`] says how they are carried out.

use super::create::{new_index, stream_label};
use super::{Circumstances, IndexPhase, IndexRecord, Record, UnitsDates};
use crate::schema::{IndexId, SchemaVersion};
use crate::table::{BillingMode, GlobalIndexSpec, SpecError, TableSpec, Throughput, TimeToLiveStatus};

impl Record {
    /// Sets a settled table's target. Nothing is changed when it is forbidden.
    pub fn retarget(&mut self, target: TableSpec, at: Circumstances) -> Result<(), SpecError> {
        retarget(self, target, at)
    }
}

fn retarget(record: &mut Record, target: TableSpec, at: Circumstances) -> Result<(), SpecError> {
    let now_ms = at.now_ms;
    record.spec.check_unchangeable(&target)?;
    let before = (record.spec.clone(), record.global.clone(), record.time_to_live);
    let schema_before = record.schema();

    retarget_units(record, &target, now_ms);
    retarget_indexes(record, &target, at);
    retarget_time_to_live(record, target.time_to_live.as_deref());
    // A stream that is switched off stays known as the latest.
    if record.spec.stream != target.stream && target.stream.is_some() {
        record.stream_label = Some(stream_label(now_ms));
    }
    if record.spec.class != target.class {
        record.dates.class_since_ms = Some(now_ms);
    }
    record.spec = TableSpec {
        global: record.spec.global.clone(),
        time_to_live: record.spec.time_to_live.clone(),
        ..target
    };

    if before != (record.spec.clone(), record.global.clone(), record.time_to_live) {
        record.updating = true;
    }
    if record.schema() != schema_before {
        record.schema_version = SchemaVersion(record.schema_version.0 + 1);
    }
    Ok(())
}

fn retarget_units(record: &mut Record, target: &TableSpec, now_ms: u64) {
    if record.spec.billing != target.billing && target.billing == BillingMode::PayPerRequest {
        record.dates.on_demand_since_ms = Some(now_ms);
    }
    note_change(
        &mut record.dates.units,
        record.spec.throughput,
        target.throughput,
        now_ms,
    );
}

/// Units that were zero or become zero belong to a change of the billing mode, which is not an increase or decrease.
fn note_change(dates: &mut UnitsDates, from: Throughput, to: Throughput, now_ms: u64) {
    if from == Throughput::default() || to == Throughput::default() {
        return;
    }
    let increased = to.read > from.read || to.write > from.write;
    let decreased = to.read < from.read || to.write < from.write;
    dates.changed(increased, decreased, now_ms);
}

/// Indexes that are wanted and not there are built, those that are there and not wanted are removed (their
/// specification stays until they are gone), the units of the others change.
fn retarget_indexes(record: &mut Record, target: &TableSpec, at: Circumstances) {
    let mut specs: Vec<GlobalIndexSpec> = Vec::with_capacity(target.global.len());
    let mut indexes: Vec<IndexRecord> = Vec::with_capacity(target.global.len());
    for (spec, mut index) in record.spec.global.drain(..).zip(record.global.drain(..)) {
        match target.global.iter().find(|wanted| wanted.name == spec.name) {
            Some(wanted) => {
                note_change(&mut index.units, spec.throughput, wanted.throughput, at.now_ms);
                specs.push(wanted.clone());
            }
            None => {
                index.phase = IndexPhase::Removing;
                specs.push(spec);
            }
        }
        indexes.push(index);
    }
    for wanted in &target.global {
        if indexes.iter().any(|index| index.name == wanted.name) {
            continue;
        }
        let id = IndexId(record.next_index);
        record.next_index += 1;
        indexes.push(new_index(
            record.id,
            wanted,
            id,
            target.billing,
            IndexPhase::Building,
            at,
        ));
        specs.push(wanted.clone());
    }
    record.spec.global = specs;
    record.global = indexes;
}

/// Another attribute needs two steps: off first; whoever asked asks again once that is done.
fn retarget_time_to_live(record: &mut Record, target: Option<&str>) {
    match (record.spec.time_to_live.as_deref(), target) {
        (None, Some(attribute)) => {
            record.spec.time_to_live = Some(attribute.to_owned());
            record.time_to_live = TimeToLiveStatus::Enabling;
        }
        (Some(current), wanted) if wanted != Some(current) => {
            record.time_to_live = TimeToLiveStatus::Disabling;
        }
        _ => {}
    }
}
