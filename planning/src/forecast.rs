//! From a table as it is to a table as it is wanted: what changes on the cluster, why, and how much is copied.
//!
//! 1. [`Current`] is the table as it is: its specification, the partitions that it has, its size;
//! 2. [`forecast`] lays out both, takes their footprints and compares;
//! 3. [`Forecast::lines`] says it in words: what `kubectl apply --dry-run=server` answers.

use std::collections::BTreeMap;

use partita_crds::status::EffectiveThroughput;
use partita_crds::table::{Autoscaling, AutoscalingRange};
use partita_crds::{Partition, Table, TableSpec, convert};
use partita_model::schema::TableId;
use partita_model::table as model;
use partita_model::table::record::{Circumstances, IndexPhase, Owner, Record};
use partita_model::table::{BillingMode, SpecError, Throughput};
use serde::Serialize;

use crate::footprint::{Footprint, footprint};
use crate::repartition::{Limits, target};
use crate::{Settings, amounts, quantity};

/// Of [`quantity::nanos`] in one.
const NANOS: i128 = 1_000_000_000;

/// A table as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// As declared.
    pub spec: TableSpec,
    /// Partitions that are there, by index; those of the table itself under `None`. What is not here has as many as its
    /// units ask for.
    pub partitions: BTreeMap<Option<String>, u64>,
    /// The bytes of its items, if they are known.
    pub bytes: Option<u64>,
    /// The units in effect, if they are known: where units follow the use they are not those that are declared.
    pub units: Option<EffectiveThroughput>,
}

impl Current {
    /// A table of a cluster whose partitions have these limits, with its Partitions if they are at hand.
    pub fn new<'a>(table: &Table, partitions: impl IntoIterator<Item = &'a Partition>, limits: &Limits) -> Self {
        let mut counts = BTreeMap::new();
        for partition in partitions {
            *counts.entry(partition.spec.index_name.clone()).or_default() += 1;
        }
        let status = table.status.as_ref();
        if let Some(all) = status
            .and_then(|status| status.partitions)
            .filter(|_| counts.is_empty())
        {
            // A status counts all together: those of indexes are as many as their units ask for.
            let indexes = begin(&table.spec, limits).map_or(0, |record| of_indexes(&record));
            let own = u64::try_from(all).unwrap_or(0).saturating_sub(indexes).max(1);
            counts.insert(None, own);
        }
        Self {
            spec: table.spec.clone(),
            partitions: counts,
            units: status.and_then(|status| status.effective_throughput.clone()),
            bytes: status
                .and_then(|status| status.table_size_bytes)
                .and_then(|bytes| u64::try_from(bytes).ok()),
        }
    }
}

/// Units in effect, of the table (`None`) or of an index.
fn effective(units: &EffectiveThroughput, index: Option<&str>) -> Option<Throughput> {
    let (read, write) = match index {
        None => (units.read_capacity_units, units.write_capacity_units),
        Some(name) => {
            let index = units
                .global_secondary_indexes
                .iter()
                .find(|index| index.index_name == name)?;
            (index.read_capacity_units, index.write_capacity_units)
        }
    };
    Some(Throughput {
        read: u64::try_from(read).ok()?,
        write: u64::try_from(write).ok()?,
    })
}

/// What becomes of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The table's name.
    pub table: String,
    /// What is declared differently, in words; nothing of a table that begins.
    pub causes: Vec<String>,
    /// What it occupies; nothing if it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Footprint>,
    /// What it will occupy.
    pub after: Footprint,
    /// Bytes that are copied between storage nodes on the way; nothing if the table's size is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_bytes: Option<u64>,
    /// What a person should know besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The record that a table begins with. Its id is nobody's: only counts are of interest.
pub(crate) fn begin(spec: &TableSpec, limits: &Limits) -> Result<Record, SpecError> {
    lay_out(spec, None, limits)
}

/// The same with units in effect, as far as ranges allow.
fn lay_out(spec: &TableSpec, units: Option<&EffectiveThroughput>, limits: &Limits) -> Result<Record, SpecError> {
    let declared = convert::to_model_with(spec, &|index| effective(units?, index))?;
    Ok(record(declared, limits))
}

fn record(spec: model::TableSpec, limits: &Limits) -> Record {
    let at = Circumstances {
        now_ms: 0,
        partitions: limits.partitions(),
    };
    Record::create("000000000000", spec, Owner::Api, TableId(1), at)
}

fn of_indexes(record: &Record) -> u64 {
    record.global.iter().map(|index| index.partitions.len() as u64).sum()
}

/// Compares a table as it is, if it is there, with a table as it is wanted.
pub fn forecast(current: Option<&Current>, wanted: &TableSpec, settings: &Settings) -> Result<Forecast, SpecError> {
    let units = current.and_then(|current| current.units.as_ref());
    let asked = lay_out(wanted, units, &settings.limits)?;
    let Some(current) = current else {
        return Ok(Forecast {
            table: wanted.table_name.clone(),
            causes: Vec::new(),
            before: None,
            after: footprint(wanted, &asked, settings)?,
            copied_bytes: Some(0),
            notes: at_most(wanted, settings)?,
        });
    };
    let mut is = lay_out(&current.spec, units, &settings.limits)?;
    take(&mut is, &current.partitions);
    let mut becomes = asked.clone();
    let bytes = current.bytes.unwrap_or(0);
    let limits = on_volumes(&current.spec, wanted, settings);
    let mut notes: Vec<String> = follow(&mut becomes, &is, bytes, &limits).into_iter().collect();
    let before = footprint(&current.spec, &is, settings)?;
    let after = footprint(wanted, &becomes, settings)?;
    let copied = current.bytes.map(|bytes| {
        let replicas = |spec: &TableSpec| u64::try_from(spec.replicas).unwrap_or(1).max(1);
        copied(
            bytes,
            (before.partitions, replicas(&current.spec)),
            (after.partitions, replicas(wanted)),
        )
    });
    let causes = causes(current, wanted, &is.spec, &becomes.spec);
    notes.extend(restarts(&before, &after));
    notes.extend(builds(&is, &becomes, current.bytes));
    if ranges(&current.spec) != ranges(wanted) {
        notes.extend(at_most(wanted, settings)?);
    }
    Ok(Forecast {
        table: wanted.table_name.clone(),
        causes,
        before: Some(before),
        after,
        copied_bytes: copied.or_else(|| still(&before, &after).then_some(0)),
        notes,
    })
}

/// Gives a record the partitions that are there.
fn take(record: &mut Record, there: &BTreeMap<Option<String>, u64>) {
    let count = |name: Option<&String>| there.get(&name.cloned()).and_then(|count| usize::try_from(*count).ok());
    if let (Some(count), Some(some)) = (count(None), record.partitions.first().cloned()) {
        record.partitions.resize(count.max(1), some);
    }
    for index in &mut record.global {
        if let (Some(count), Some(some)) = (count(Some(&index.name)), index.partitions.first().cloned()) {
            index.partitions.resize(count.max(1), some);
        }
    }
}

/// The limits of partitions on the volumes that a table has: they grow, and never shrink.
fn on_volumes(is: &TableSpec, wanted: &TableSpec, settings: &Settings) -> Limits {
    let sizes = [is, wanted].into_iter().flat_map(|spec| {
        let storage = spec.storage.as_ref();
        let size = storage.and_then(|storage| storage.size.as_ref());
        let most = storage.and_then(|storage| storage.max_size.as_ref());
        [size.or(Some(&settings.storage_size)), most]
    });
    let bytes = sizes.flatten().filter_map(quantity::nanos);
    let most = bytes.max().and_then(|nanos| u64::try_from(nanos / NANOS).ok());
    match most {
        Some(most) => settings.limits.clone().on_volumes(most),
        None => settings.limits.clone(),
    }
}

/// What units do not ask for is there all the same: partitions for the bytes, and those that an on-demand table has for its load.
fn follow(becomes: &mut Record, is: &Record, bytes: u64, limits: &Limits) -> Option<String> {
    let by_bytes = target(Throughput::default(), bytes, limits);
    let by_load = match becomes.spec.billing {
        BillingMode::Provisioned => 1,
        BillingMode::PayPerRequest => is.partitions.len() as u64,
    };
    let by_units = limits.partitions();
    let asked = by_units.count(becomes.spec.billing, becomes.spec.throughput, becomes.spec.warm);
    for (index, spec) in becomes.global.iter_mut().zip(&becomes.spec.global) {
        let asked = by_units.count(becomes.spec.billing, spec.throughput, spec.warm);
        if let Some(some) = index.partitions.first().cloned() {
            index
                .partitions
                .resize(usize::try_from(asked).unwrap_or(usize::MAX), some);
        }
    }
    let needed = usize::try_from(by_bytes.max(by_load).max(asked)).unwrap_or(usize::MAX);
    if let Some(some) = becomes.partitions.first().cloned() {
        becomes.partitions.resize(needed, some);
    }
    (by_bytes > asked.max(by_load)).then(|| {
        format!(
            "its {} ask for {}, more than its units",
            amounts::bytes(bytes),
            amounts::count(by_bytes, "partition")
        )
    })
}

/// Bytes between storage nodes: of partitions that move to nodes of their own (or to those that absorb them), and to new replicas.
/// Both ends are numbers of partitions and replicas.
fn copied(bytes: u64, (partitions, replicas): (u64, u64), (partitions_after, replicas_after): (u64, u64)) -> u64 {
    let (fewer, more) = (
        partitions.min(partitions_after),
        partitions.max(partitions_after).max(1),
    );
    // What is not moved is split or stays where it is; further replicas get all of it.
    let share = |bytes: u64, of: u64| (u128::from(bytes) * u128::from(of) / u128::from(more)) as u64;
    let moved = share(bytes, more - fewer);
    let stays = bytes - moved;
    let further = replicas_after.saturating_sub(replicas);
    moved
        .saturating_mul(replicas_after)
        .saturating_add(stays.saturating_mul(further))
}

/// Whether no storage node comes or goes.
fn still(before: &Footprint, after: &Footprint) -> bool {
    before.pods == after.pods && before.partitions == after.partitions
}

/// What is declared differently, as far as it matters to the cluster.
fn causes(current: &Current, wanted: &TableSpec, is: &model::TableSpec, becomes: &model::TableSpec) -> Vec<String> {
    let mut causes = Vec::new();
    if is.billing != becomes.billing {
        causes.push(match becomes.billing {
            BillingMode::Provisioned => "on demand → provisioned".to_owned(),
            BillingMode::PayPerRequest => "provisioned → on demand".to_owned(),
        });
    }
    units(&mut causes, "", is.throughput, becomes.throughput);
    units(
        &mut causes,
        "warm ",
        is.warm.unwrap_or_default(),
        becomes.warm.unwrap_or_default(),
    );
    for index in &becomes.global {
        let Some(known) = is.global.iter().find(|known| known.name == index.name) else {
            causes.push(format!("index {} added", index.name));
            continue;
        };
        units(
            &mut causes,
            &format!("index {} ", index.name),
            known.throughput,
            index.throughput,
        );
        let (warm, warm_wanted) = (known.warm.unwrap_or_default(), index.warm.unwrap_or_default());
        units(&mut causes, &format!("index {} warm ", index.name), warm, warm_wanted);
    }
    for index in &is.global {
        if !becomes.global.iter().any(|wanted| wanted.name == index.name) {
            causes.push(format!("index {} removed", index.name));
        }
    }
    if current.spec.replicas != wanted.replicas {
        causes.push(format!("replicas {} → {}", current.spec.replicas, wanted.replicas));
    }
    let scheduling = |spec: &TableSpec| spec.scheduling.as_ref().map(|s| (s.cpu.clone(), s.memory.clone()));
    if scheduling(&current.spec).unwrap_or_default() != scheduling(wanted).unwrap_or_default() {
        causes.push("CPU or memory of its pods".to_owned());
    }
    let size = |spec: &TableSpec| spec.storage.as_ref().and_then(|storage| storage.size.clone());
    if size(&current.spec) != size(wanted) {
        causes.push("size of its volumes".to_owned());
    }
    causes
}

/// Units that are zero were not given: that is another cause.
fn units(causes: &mut Vec<String>, of: &str, is: Throughput, becomes: Throughput) {
    let both = [("read", is.read, becomes.read), ("write", is.write, becomes.write)];
    for (kind, is, becomes) in both {
        if is != becomes && becomes != 0 {
            causes.push(match is {
                0 => format!("{of}{kind} units {becomes}"),
                is => format!("{of}{kind} units {is} → {becomes}"),
            });
        }
    }
}

/// Where units follow the use: what the table occupies when it has as many as it may.
fn at_most(spec: &TableSpec, settings: &Settings) -> Result<Vec<String>, SpecError> {
    if ranges(spec).iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let mut most = lay_out(spec, None, &settings.limits)?.spec;
    let widest = |units: &mut Throughput, ranges: Option<&Autoscaling>| {
        let end = |range: &AutoscalingRange| u64::try_from(range.max).unwrap_or(0);
        let read = ranges.and_then(|ranges| ranges.read.as_ref());
        let write = ranges.and_then(|ranges| ranges.write.as_ref());
        units.read = read.map_or(units.read, end);
        units.write = write.map_or(units.write, end);
    };
    widest(&mut most.throughput, spec.autoscaling.as_ref());
    for index in &mut most.global {
        let declared = spec
            .global_secondary_indexes
            .iter()
            .find(|declared| declared.index_name == index.name);
        widest(
            &mut index.throughput,
            declared.and_then(|declared| declared.autoscaling.as_ref()),
        );
    }
    let units = most.throughput;
    let most = footprint(spec, &record(most, &settings.limits), settings)?;
    Ok(vec![format!(
        "with as many units as it may have (read {}, write {}) it is made for {}, {}",
        units.read,
        units.write,
        amounts::count(most.partitions, "partition"),
        amounts::count(most.pods, "pod"),
    )])
}

/// Ranges of the table and of its indexes.
fn ranges(spec: &TableSpec) -> Vec<Option<&Autoscaling>> {
    let indexes = spec
        .global_secondary_indexes
        .iter()
        .map(|index| index.autoscaling.as_ref());
    let all = std::iter::once(spec.autoscaling.as_ref()).chain(indexes);
    all.map(|ranges| ranges.filter(|ranges| ranges.read.is_some() || ranges.write.is_some()))
        .collect()
}

/// Pods that stay are changed by being restarted.
fn restarts(before: &Footprint, after: &Footprint) -> Option<String> {
    let changed = before.cpu_millis != after.cpu_millis || before.memory_bytes != after.memory_bytes;
    (still(before, after) && changed).then(|| "pods get their new CPU and memory when they are restarted".to_owned())
}

/// An index that is added is built from the items.
fn builds(is: &Record, becomes: &Record, bytes: Option<u64>) -> Vec<String> {
    let added = becomes.global.iter().filter(|index| {
        let known = is.index(&index.name);
        known.is_none_or(|known| known.phase == IndexPhase::Removing)
    });
    let from = match bytes {
        Some(bytes) => format!("the table's {}", amounts::bytes(bytes)),
        None => "the table's items".to_owned(),
    };
    added
        .map(|index| format!("the index {} is built from {from}", index.name))
        .collect()
}

impl Forecast {
    /// Whether anything was declared differently that matters to the cluster; a table that begins always does.
    pub fn changes(&self) -> bool {
        self.before.is_none() || !self.causes.is_empty() || self.before != Some(self.after)
    }

    /// In one line: `orders: write units 1000 → 9000: 1 → 9 partitions, +24 pods, …`.
    pub fn sentence(&self) -> String {
        let mut words = format!("{}: ", self.table);
        if !self.causes.is_empty() {
            words.push_str(&self.causes.join(", "));
            words.push_str(": ");
        }
        words.push_str(&match &self.before {
            None => begins(&self.after),
            Some(before) => self.becomes(before),
        });
        words
    }

    /// The sentence, and one for each note.
    pub fn lines(&self) -> Vec<String> {
        let notes = self.notes.iter().map(|note| format!("{}: {note}", self.table));
        std::iter::once(self.sentence()).chain(notes).collect()
    }

    fn becomes(&self, before: &Footprint) -> String {
        let after = &self.after;
        let mut parts = Vec::new();
        if before.partitions != after.partitions {
            parts.push(format!(
                "{} → {}",
                before.partitions,
                amounts::count(after.partitions, "partition")
            ));
        }
        if before.index_partitions != after.index_partitions {
            let becomes = amounts::count(after.index_partitions, "partition");
            parts.push(format!("{} → {becomes} of indexes", before.index_partitions));
        }
        let mut change = |before: u64, after: u64, words: &dyn Fn(u64) -> String| {
            if before != after {
                let sign = if after > before { '+' } else { '−' };
                parts.push(format!("{sign}{}", words(after.abs_diff(before))));
            }
        };
        change(before.pods, after.pods, &|pods| amounts::count(pods, "pod"));
        change(before.cpu_millis, after.cpu_millis, &amounts::cpu);
        let memory = |bytes| format!("{} of memory", amounts::bytes(bytes));
        change(before.memory_bytes, after.memory_bytes, &memory);
        let claims = |bytes| format!("{} of claims", amounts::bytes(bytes));
        change(before.claim_bytes, after.claim_bytes, &claims);
        match self.copied_bytes {
            Some(0) => {}
            Some(bytes) => parts.push(format!("about {} to copy", amounts::bytes(bytes))),
            None => parts.push("its bytes to copy (how many is not known)".to_owned()),
        }
        if parts.is_empty() {
            "the same partitions, pods, CPU, memory and claims".to_owned()
        } else {
            parts.join(", ")
        }
    }
}

/// A table that was not there.
fn begins(after: &Footprint) -> String {
    let mut parts = vec![amounts::count(after.partitions, "partition")];
    if after.index_partitions > 0 {
        parts.push(format!(
            "{} of indexes",
            amounts::count(after.index_partitions, "partition")
        ));
    }
    parts.push(amounts::count(after.pods, "pod"));
    parts.push(amounts::cpu(after.cpu_millis));
    parts.push(format!("{} of memory", amounts::bytes(after.memory_bytes)));
    parts.push(format!("{} of claims", amounts::bytes(after.claim_bytes)));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::tests::table;
    use serde_json::json;

    fn current(spec: TableSpec, bytes: Option<u64>) -> Current {
        Current {
            spec,
            partitions: BTreeMap::new(),
            bytes,
            units: None,
        }
    }

    fn sentence(is: TableSpec, bytes: Option<u64>, wanted: &TableSpec, settings: &Settings) -> String {
        forecast(Some(&current(is, bytes)), wanted, settings)
            .unwrap()
            .sentence()
    }

    #[test]
    fn what_small_volumes_bear_is_what_partitions_may_hold() {
        let small: TableSpec = {
            let mut spec = serde_json::to_value(table(1000, None)).unwrap();
            spec["storage"] = json!({"size": "3Gi"});
            serde_json::from_value(spec).unwrap()
        };
        let is = Current {
            partitions: BTreeMap::from([(None, 5)]),
            ..current(small.clone(), Some(6_400_000_000))
        };
        let mut wanted = small;
        wanted.provisioned_throughput = table(900, None).provisioned_throughput;
        let found = forecast(Some(&is), &wanted, &Settings::default()).unwrap();
        assert_eq!(found.after.partitions, 5, "{}", found.sentence());
    }

    #[test]
    fn a_change_is_one_line() {
        let bytes = Some(1_200_000_000);
        assert_eq!(
            sentence(table(1000, None), bytes, &table(9000, None), &Settings::default()),
            "orders: write units 1000 → 9000: 1 → 9 partitions, +24 pods, +5.04 CPU, +9.7 GiB of memory, \
             +720 GiB of claims, about 2.98 GiB to copy"
        );
        assert_eq!(
            sentence(table(9000, None), bytes, &table(1000, None), &Settings::default()),
            "orders: write units 9000 → 1000: 9 → 1 partition, −24 pods, −5.04 CPU, −9.7 GiB of memory, \
             −720 GiB of claims, about 2.98 GiB to copy"
        );
    }

    #[test]
    fn a_table_that_begins_is_all_new() {
        let said = forecast(None, &table(4000, Some(1000)), &Settings::default())
            .unwrap()
            .sentence();
        assert_eq!(
            said,
            "orders: 4 partitions, 1 partition of indexes, 12 pods, 2.97 CPU, 5.16 GiB of memory, 360 GiB of claims"
        );
    }

    #[test]
    fn what_matters_is_named() {
        let is = table(1, None);
        let mut wanted = table(1, Some(1));
        wanted.replicas = 5;
        wanted.warm_throughput = serde_json::from_value(json!({"writeUnitsPerSecond": 5000})).unwrap();
        let found = forecast(
            Some(&current(is.clone(), Some(10 << 30))),
            &wanted,
            &Settings::default(),
        )
        .unwrap();
        assert_eq!(
            found.causes,
            ["warm write units 5000", "index byId added", "replicas 3 → 5"]
        );
        assert_eq!(found.notes, ["the index byId is built from the table's 10 GiB"]);
        // Four of five partitions move to nodes of their own, five replicas each; the one that stays gets two more.
        assert_eq!(found.copied_bytes, Some((8 * 5 + 2 * 2) << 30));

        let mut on_demand = is.clone();
        on_demand.billing_mode = partita_crds::table::BillingMode::PayPerRequest;
        on_demand.provisioned_throughput = None;
        let found = forecast(Some(&current(is.clone(), None)), &on_demand, &Settings::default()).unwrap();
        assert_eq!(found.causes, ["provisioned → on demand"]);
        assert_eq!(found.copied_bytes, Some(0), "nothing moves, whatever its size");
        let back = forecast(Some(&current(on_demand, None)), &is, &Settings::default()).unwrap();
        assert_eq!(
            back.causes,
            ["on demand → provisioned", "read units 100", "write units 1"]
        );
    }

    #[test]
    fn nothing_declared_differently_is_no_change() {
        let mut wanted = table(7, Some(7));
        wanted.tags = vec![partita_crds::table::Tag {
            key: "team".to_owned(),
            value: "shop".to_owned(),
        }];
        let found = forecast(Some(&current(table(7, Some(7)), None)), &wanted, &Settings::default()).unwrap();
        assert!(!found.changes());
        assert!(
            found
                .sentence()
                .ends_with("the same partitions, pods, CPU, memory and claims")
        );
    }

    #[test]
    fn partitions_that_are_there_count_and_not_those_that_the_units_asked_for() {
        let mut is = current(table(1000, Some(1000)), Some(1 << 30));
        is.partitions = BTreeMap::from([(None, 4), (Some("byId".to_owned()), 2)]);
        let found = forecast(Some(&is), &table(5000, Some(1000)), &Settings::default()).unwrap();
        let before = found.before.unwrap();
        assert_eq!((before.partitions, found.after.partitions), (4, 5));
        assert_eq!((before.index_partitions, found.after.index_partitions), (2, 1));
    }

    #[test]
    fn a_table_of_a_cluster_is_known_by_its_status_or_by_its_partitions() {
        let mut table = Table::new("orders", table(1000, Some(1)));
        table.status = serde_json::from_value(json!({"partitions": 5, "tableSizeBytes": 1000})).unwrap();
        let known = Current::new(&table, [], &Limits::default());
        assert_eq!(
            (known.partitions, known.bytes),
            (BTreeMap::from([(None, 4)]), Some(1000))
        );
        let of = |index: Option<&str>| {
            let mut spec = json!({"table": "orders", "tableName": "orders", "tableId": "0000000000000001",
                "group": "0000000000000001", "host": "h", "replicas": 1});
            spec["indexName"] = json!(index);
            Partition::new("p", serde_json::from_value(spec).unwrap())
        };
        let partitions = [of(None), of(None), of(Some("byId"))];
        let known = Current::new(&table, &partitions, &Limits::default());
        assert_eq!(
            known.partitions,
            BTreeMap::from([(None, 2), (Some("byId".to_owned()), 1)])
        );
    }

    #[test]
    fn a_range_begins_at_its_minimum_or_goes_on_from_what_is_in_effect() {
        let range = |min: i64, max: i64| {
            let mut spec = table(1, None);
            spec.provisioned_throughput.as_mut().unwrap().write_capacity_units = None;
            spec.autoscaling = serde_json::from_value(json!({"write": {"min": min, "max": max}})).unwrap();
            spec
        };
        let begun = forecast(None, &range(2000, 9000), &Settings::default()).unwrap();
        assert_eq!(begun.after.partitions, 2);
        assert_eq!(
            begun.notes,
            ["with as many units as it may have (read 100, write 9000) it is made for 9 partitions, 27 pods"]
        );
        let mut is = current(range(2000, 9000), None);
        is.units = serde_json::from_value(json!({"readCapacityUnits": 100, "writeCapacityUnits": 4000})).unwrap();
        let found = forecast(Some(&is), &range(1000, 3000), &Settings::default()).unwrap();
        assert_eq!(found.causes, ["write units 4000 → 3000"]);
        assert_eq!((found.before.unwrap().partitions, found.after.partitions), (4, 3));
        let same = forecast(Some(&is), &is.spec, &Settings::default()).unwrap();
        assert!(!same.changes() && same.notes.is_empty());
    }

    #[test]
    fn bytes_ask_for_partitions_too_and_load_keeps_those_of_an_on_demand_table() {
        let found = forecast(
            Some(&current(table(3000, None), Some(25_000_000_000))),
            &table(1, None),
            &Settings::default(),
        )
        .unwrap();
        assert_eq!((found.before.unwrap().partitions, found.after.partitions), (3, 3));
        assert_eq!(found.notes[0], "its 23.3 GiB ask for 3 partitions, more than its units");
        let mut on_demand = table(1, None);
        on_demand.billing_mode = partita_crds::table::BillingMode::PayPerRequest;
        on_demand.provisioned_throughput = None;
        let mut is = current(on_demand.clone(), None);
        is.partitions.insert(None, 6);
        on_demand.replicas = 5;
        let found = forecast(Some(&is), &on_demand, &Settings::default()).unwrap();
        assert_eq!((found.after.partitions, found.after.pods), (6, 30));
    }

    #[test]
    fn settings_of_partitions_shape_all_of_it() {
        let mut settings = Settings::default();
        settings.limits.units = Throughput { read: 1000, write: 100 };
        let begun = forecast(None, &table(900, Some(300)), &settings).unwrap();
        assert_eq!((begun.after.partitions, begun.after.index_partitions), (9, 3));
        let known = current(table(50, Some(300)), None);
        let found = forecast(Some(&known), &table(900, Some(300)), &settings).unwrap();
        assert_eq!((found.before.unwrap().partitions, found.after.partitions), (1, 9));
        let mut range = table(1, None);
        range.provisioned_throughput.as_mut().unwrap().write_capacity_units = None;
        range.autoscaling = serde_json::from_value(json!({"write": {"min": 50, "max": 900}})).unwrap();
        let begun = forecast(None, &range, &settings).unwrap();
        assert_eq!(begun.after.partitions, 1);
        assert_eq!(
            begun.notes,
            ["with as many units as it may have (read 100, write 900) it is made for 9 partitions, 27 pods"]
        );
        // A status counts partitions of indexes, too: three of these twelve.
        let mut there = Table::new("orders", table(900, Some(300)));
        there.status = serde_json::from_value(json!({"partitions": 12})).unwrap();
        let known = Current::new(&there, [], &settings.limits);
        assert_eq!(known.partitions, BTreeMap::from([(None, 9)]));
    }

    #[test]
    fn a_specification_that_is_wrong_is_refused() {
        let mut wanted = table(1, None);
        wanted.key_schema[0].attribute_name = "other".to_owned();
        assert!(forecast(None, &wanted, &Settings::default()).is_err());
    }
}
