//! Units that follow the use ([`partita_planning::autoscale`]), where the specification has ranges.
//!
//! 1. Once a minute every storage node is asked what its groups have served; [`Uses`] remembers the totals and what was used in
//!    each minute. An operator that is started anew begins with nothing, and waits for minutes of its own.
//! 2. [`scale`] (pure) puts other units into the valid specification, each with its reason. From there on they are a change
//!    like any other: the record gets another target, the partitions are told.
//!
//! The specification that a person wrote is never touched: what is in effect stands in the record, and so in the status.

use std::collections::BTreeMap;
use std::fmt;

use partita_crds::table::AutoscalingRange;
use partita_crds::{Table, TableSpec as Declared};
use partita_model::partition::GroupId;
use partita_model::table::record::{Record, UnitsDates};
use partita_planning::autoscale::{self, History, MINUTE_MS, Range, Why};

use super::observe::{Node, Observed};
use super::validate::Valid;
use crate::nodes::NodeName;

/// Read or write units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// RCU.
    Read,
    /// WCU.
    Write,
}

/// A kind of units of the table itself (`None`) or of an index.
type Of = (Option<String>, Kind);

/// What was used of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Uses {
    /// When the totals were taken; nothing before the first time.
    taken_ms: Option<u64>,
    /// Half units since the node's process began, by node and group.
    totals: BTreeMap<(NodeName, GroupId), BTreeMap<Of, u64>>,
    minutes: BTreeMap<Of, History>,
}

impl Uses {
    /// Whether a minute is over.
    pub fn due(&self, now_ms: u64) -> bool {
        self.taken_ms
            .is_none_or(|taken| now_ms.saturating_sub(taken) >= MINUTE_MS)
    }

    /// Notes what the nodes have served since the last time.
    pub fn note(&mut self, observed: &Observed, record: &Record, now_ms: u64) {
        let before = std::mem::take(&mut self.totals);
        self.totals = totals(observed, record);
        let taken_ms = self.taken_ms.replace(now_ms);
        let Some(elapsed_ms) = taken_ms
            .map(|taken| now_ms.saturating_sub(taken))
            .filter(|elapsed| *elapsed > 0)
        else {
            return;
        };
        if elapsed_ms >= 2 * MINUTE_MS {
            // More than a minute: an average says nothing about each of them.
            return;
        }
        let mut used: BTreeMap<Of, u64> = ranged(&observed.table.spec).map(|(of, _)| (of, 0)).collect();
        for (node, totals) in &self.totals {
            for (of, total) in totals {
                let known = before.get(node).and_then(|known| known.get(of));
                // A process that was started anew counts from nothing. One that was not known has served at unknown times.
                let since = match known {
                    Some(known) if known <= total => total - known,
                    Some(_) => *total,
                    None => 0,
                };
                if let Some(sum) = used.get_mut(of) {
                    *sum += since;
                }
            }
        }
        self.minutes.retain(|of, _| used.contains_key(of));
        for (of, half_units) in used {
            let per_second = half_units as f64 / 2.0 / (elapsed_ms as f64 / 1000.0);
            self.minutes.entry(of).or_default().note(now_ms, per_second);
        }
    }
}

/// What each node says that each of its groups has served.
fn totals(observed: &Observed, record: &Record) -> BTreeMap<(NodeName, GroupId), BTreeMap<Of, u64>> {
    let mut totals: BTreeMap<(NodeName, GroupId), BTreeMap<Of, u64>> = BTreeMap::new();
    for piece in observed.pieces(record) {
        let group = piece.descriptor.group;
        let own = piece.index.as_ref().map(|(name, _)| name.clone());
        for (name, node) in &observed.nodes {
            let Node::Store(store) = node else { continue };
            let Some(state) = store.groups.iter().find(|state| state.descriptor.group == group) else {
                continue;
            };
            let of = totals.entry((name.clone(), group)).or_default();
            *of.entry((own.clone(), Kind::Read)).or_default() += state.load.read_half_units;
            *of.entry((own.clone(), Kind::Write)).or_default() += state.load.write_half_units;
            for index in &record.global {
                if let Some(half_units) = state.load.index_half_units.get(&index.id) {
                    *of.entry((Some(index.name.clone()), Kind::Write)).or_default() += half_units;
                }
            }
        }
    }
    totals
}

/// Whether anything of a table follows its use.
pub fn follows(table: &Table) -> bool {
    ranged(&table.spec).next().is_some()
}

/// Every range of a specification.
fn ranged(spec: &Declared) -> impl Iterator<Item = (Of, &AutoscalingRange)> {
    let table = spec.autoscaling.iter().map(|scaling| (None, scaling));
    let indexes = spec.global_secondary_indexes.iter();
    let indexes = indexes.filter_map(|index| Some((Some(index.index_name.clone()), index.autoscaling.as_ref()?)));
    table.chain(indexes).flat_map(|(name, scaling)| {
        let read = scaling.read.as_ref().map(|range| ((name.clone(), Kind::Read), range));
        let write = scaling.write.as_ref().map(|range| ((name, Kind::Write), range));
        read.into_iter().chain(write)
    })
}

/// Units that became others.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaled {
    of: Of,
    from: u64,
    to: u64,
    why: Why,
}

impl Scaled {
    /// One word for it.
    pub fn action(&self) -> &'static str {
        if self.to > self.from { "ScaledOut" } else { "ScaledIn" }
    }
}

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, kind) = &self.of;
        if let Some(index) = index {
            write!(f, "index {index} ")?;
        }
        let kind = match kind {
            Kind::Read => "read",
            Kind::Write => "write",
        };
        write!(f, "{kind} units {} → {}: {}", self.from, self.to, self.why)
    }
}

/// Lets units of a valid specification follow the use. What is still under way is waited for.
pub fn scale(valid: &mut Valid, table: &Table, record: &Record, uses: &Uses, now_ms: u64) -> Vec<Scaled> {
    if !record.settled() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (of, range) in ranged(&table.spec) {
        let range = Range::from(range);
        let (is, dates, becomes) = match &of.0 {
            None => (
                record.spec.throughput,
                record.dates.units,
                Some(&mut valid.spec.throughput),
            ),
            Some(name) => {
                let index = record.spec.global.iter().find(|index| index.name == *name);
                let wanted = valid.spec.global.iter_mut().find(|index| index.name == *name);
                (
                    index.map(|index| index.throughput).unwrap_or_default(),
                    record.index(name).map(|index| index.units).unwrap_or_default(),
                    wanted.map(|index| &mut index.throughput),
                )
            }
        };
        let Some(becomes) = becomes else { continue };
        let (from, becomes) = match of.1 {
            Kind::Read => (is.read, &mut becomes.read),
            Kind::Write => (is.write, &mut becomes.write),
        };
        // What was fixed or was not there until now begins within the range.
        if from == 0 {
            continue;
        }
        let history = uses.minutes.get(&of).cloned().unwrap_or_default();
        if let Some(change) = autoscale::step(&range, from, changed_ms(dates), &history, now_ms) {
            *becomes = change.to;
            let (to, why) = (change.to, change.why);
            all.push(Scaled { of, from, to, why });
        }
    }
    all
}

fn changed_ms(dates: UnitsDates) -> u64 {
    dates.increased_ms.max(dates.decreased_ms).unwrap_or(0)
}
