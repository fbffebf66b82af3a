//! What is counted of units, in Prometheus' text format. docs/metrics.md says what each is for.
//!
//! Labels are tables, indexes and partitions: there are as many series as the store has of those.

use std::collections::BTreeMap;
use std::sync::Arc;

use partita_model::admin::LoadSpread;
use partita_model::capacity::{HalfUnits, ThrottleLimit, UnitKind};
use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::schema::IndexId;
use serde_json::{Value, json};

use super::Admission;
use super::meter::Meter;
use super::table::Shown;
use super::units::{Counted, ShownUnits};
use crate::admin::exposition::family;

const KINDS: [(UnitKind, &str); 2] = [(UnitKind::Read, "read"), (UnitKind::Write, "write")];

/// Hot keys of each partition and kind of units that are shown.
const HOT_KEYS_SHOWN: usize = 5;
/// Hot keys that are shown in all.
const HOT_KEYS_MOST: usize = 50;

impl Admission {
    /// The partition keys that use the most of their partitions' units, the one that uses the most first.
    pub fn hot_keys(&self) -> Value {
        let now_ms = (self.now_ms)();
        let meters: Vec<_> = self
            .meters
            .read()
            .iter()
            .map(|(group, meter)| (*group, Arc::clone(meter)))
            .collect();
        let mut keys = Vec::new();
        for (group, meter) in meters {
            for (kind, _) in KINDS {
                for mut key in meter.hot_keys(kind, HOT_KEYS_SHOWN, now_ms) {
                    key["partition"] = json!(format!("{:016x}", group.0));
                    keys.push(key);
                }
            }
        }
        let used = |key: &Value| key["unitsPerSecond"].as_f64().unwrap_or_default();
        keys.sort_by(|one, other| used(other).total_cmp(&used(one)));
        keys.truncate(HOT_KEYS_MOST);
        json!({"keys": keys})
    }

    /// What requests to a partition have used since the process started.
    pub fn used_half_units(&self, group: GroupId, kind: UnitKind) -> u64 {
        let meters = self.meters.read();
        meters
            .get(&group)
            .map_or(0, |meter| meter.counted(kind).used_half_units)
    }

    /// Where requests to a partition that used one kind of units have been in the last minute or two.
    pub fn spread(&self, partition: &PartitionDescriptor, kind: UnitKind) -> Option<LoadSpread> {
        let meter = self.meters.read().get(&partition.group).cloned()?;
        meter.sampler(kind).spread(partition, (self.now_ms)())
    }

    /// What rows that were delivered to a partition of an index have cost since the process started.
    pub fn delivered_half_units(&self, group: GroupId) -> u64 {
        let meters = self.meters.read();
        meters.get(&group).map_or(0, |meter| meter.delivered_half_units())
    }

    /// What writes to a partition have used of global indexes since the process started.
    pub fn index_half_units(&self, group: GroupId) -> BTreeMap<IndexId, u64> {
        let meters = self.meters.read();
        meters
            .get(&group)
            .map_or_else(BTreeMap::new, |meter| meter.index_half_units())
    }

    /// Appends everything that is counted, of the partitions that are `there`.
    pub fn expose(&self, text: &mut String, there: impl Fn(GroupId) -> bool) {
        let mut meters: Vec<_> = self
            .meters
            .read()
            .iter()
            .map(|(group, meter)| (*group, Arc::clone(meter)))
            .collect();
        meters.retain(|(group, _)| there(*group));
        meters.sort_by_key(|(group, _)| *group);
        partitions(text, &meters);
        let now_ms = (self.now_ms)();
        let tables: Vec<_> = self.known.lock().tables.values().cloned().collect();
        let mut shown: Vec<_> = tables.iter().flat_map(|table| table.shown(now_ms)).collect();
        shown.sort_by(|one, other| one.labels.cmp(&other.labels));
        resources(text, &shown);
    }
}

fn partitions(text: &mut String, meters: &[(GroupId, Arc<Meter>)]) {
    let with = |labels: String, group: &GroupId| format!("{labels},partition=\"{:016x}\"", group.0);
    for (kind, name) in KINDS {
        let (mut used, mut throttled, mut allowed) = (Vec::new(), Vec::new(), Vec::new());
        for (group, meter) in meters {
            let Some(labels) = meter.labels() else { continue };
            let (labels, counted) = (with(labels, group), meter.counted(kind));
            used.push((labels.clone(), HalfUnits(counted.used_half_units).units()));
            throttled.push((labels.clone(), counted.throttled()));
            allowed.extend(meter.ceiling(kind).map(|ceiling| (labels, ceiling)));
            if kind == UnitKind::Write {
                let indexes = meter.index_writes().into_iter();
                used.extend(indexes.map(|(labels, units)| (with(labels, group), units)));
            }
        }
        let help = match kind {
            UnitKind::Read => "Read capacity units that requests to a partition have used (4 KB read strongly is 1)",
            UnitKind::Write => {
                "Write capacity units that writes to a partition have used (1 KB is 1); those for global indexes have the \
                 index's name, and the partition of the table that took the write"
            }
        };
        let family_name = format!("partita_partition_consumed_{name}_units_total");
        family(text, &family_name, "counter", help, &used);
        let help = format!("Requests to a partition that were refused because there were no {name} units for them");
        let family_name = format!("partita_partition_{name}_throttle_events_total");
        family(text, &family_name, "counter", &help, &throttled);
        let help = format!("Capacity units for {name}s, per second, that a partition may use by itself at most");
        let family_name = format!("partita_partition_allowed_{name}_units");
        family(text, &family_name, "gauge", &help, &allowed);
    }
}

fn resources(text: &mut String, shown: &[Shown]) {
    for (kind, name) in KINDS {
        let events = |figure: fn(&Counted, ThrottleLimit) -> u64| -> Vec<(String, u64)> {
            let row = |shown: &Shown, limit: ThrottleLimit| {
                let reason = limit.reason(kind, shown.of_index);
                let labels = format!("{},reason=\"{reason}\"", shown.labels);
                (labels, figure(&shown.units(kind).counted, limit))
            };
            let rows = shown
                .iter()
                .flat_map(|shown| ThrottleLimit::REACHED.map(|limit| row(shown, limit)));
            rows.collect()
        };
        let gauges = |figure: fn(&ShownUnits) -> Option<f64>| -> Vec<(String, f64)> {
            let rows = shown.iter();
            rows.filter_map(|shown| Some((shown.labels.clone(), figure(shown.units(kind))?)))
                .collect()
        };
        family(
            text,
            &format!("partita_{name}_throttle_events_total"),
            "counter",
            &format!("Requests that were refused because a table or index had no {name} units for them"),
            &events(Counted::throttled_by),
        );
        family(
            text,
            &format!("partita_shadow_{name}_throttle_events_total"),
            "counter",
            &format!("Requests that --admission enforce would have refused for lack of {name} units"),
            &events(Counted::shadowed_by),
        );
        family(
            text,
            &format!("partita_allowed_{name}_units"),
            "gauge",
            &format!("Capacity units for {name}s, per second, that a table or index may use, where they are granted"),
            &gauges(|shown| shown.allowed),
        );
        family(
            text,
            &format!("partita_{name}_units_balance"),
            "gauge",
            &format!("Capacity units for {name}s that may be used at once; below zero, a debt"),
            &gauges(|shown| shown.balance),
        );
    }
}
