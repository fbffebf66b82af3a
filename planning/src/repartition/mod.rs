//! Which partitions of a table are to be split or merged, and why. A pure step: what was measured, the memory of earlier steps
//! and the time are arguments; a new memory and decisions are the result.
//!
//! 1. [`target`]: how many partitions the units and the bytes ask for;
//! 2. a partition that is too large is split at the middle of its bytes, at once: what is stored must fit;
//! 3. while there are fewer than the target, those with most to do are split;
//! 4. a partition that has been hot for a while is split at the middle of its load. If one key is what makes it hot, it is left
//!    alone and reported: no split would help;
//! 5. once there have been more than the target for a while, and they have been left alone for as long, two neighbours that have
//!    little to do are merged.
//!
//! It cannot flap: what makes a partition hot is twice as much as what two together may have to be merged, what is merged is
//! far below what would be split, and every change is followed by a time in which it is not undone.
//!
//! Source of the model: "Partitions and data distribution" and "Burst and adaptive capacity", Amazon DynamoDB Developer Guide.
//!
//! ```text
//! split   bytes > limit · or fewer than the target · or heat > 80 % for 2 min and no single key has half of it
//! merge   more than the target for 60 min, and of two neighbours: heat ≤ 40 %, bytes ≤ 50 % of the limit, both unchanged for 60 min
//! ```

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use partita_model::table::Throughput;
use partita_model::table::record::PartitionLimits;

use crate::amounts;

/// A partition's own ceiling and when it changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// What a partition can serve.
    pub units: Throughput,
    /// The bytes that a partition may hold.
    pub bytes: u64,
    /// Most partitions of a table.
    pub partitions_max: u64,
    /// From which part of what it can serve on a partition is hot.
    pub hot: f64,
    /// How long it must have been.
    pub hot_for_ms: u64,
    /// The part of what one can serve up to which two partitions may be merged; at most half of `hot`, or they would be split again.
    pub idle: f64,
    /// The part of a partition's bytes up to which two may be merged.
    pub small: f64,
    /// How long there must have been too many partitions, and how long both must have been left alone, before two are merged.
    pub cool_down_ms: u64,
    /// Most partitions that change at once: each change moves data.
    pub changes_at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            units: PartitionLimits::UNITS,
            bytes: PARTITION_BYTES,
            partitions_max: crate::PARTITIONS_MAX,
            hot: 0.8,
            hot_for_ms: 2 * 60 * 1000,
            idle: 0.4,
            small: 0.5,
            cool_down_ms: 60 * 60 * 1000,
            changes_at_once: 4,
        }
    }
}

/// The bytes that a partition may hold where no setting says it. Source: "Partitions and data distribution", as above.
pub const PARTITION_BYTES: u64 = 10_000_000_000;

impl Limits {
    /// What says how many partitions units ask for.
    pub fn partitions(&self) -> PartitionLimits {
        PartitionLimits {
            units: self.units,
            count_max: self.partitions_max,
        }
    }
}

/// The most that heat may add to what units and bytes ask for: as many again, and a few.
const HEAT_FACTOR: u64 = 2;
/// Those few: a small table may have a hot range, too.
const HEAT_EXTRA: u64 = 2;
/// The share of a partition's load from which on one key is what makes it hot.
const HOT_KEY_SHARE: f64 = 0.5;

/// A partition as it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// Its group: unlike any other's.
    pub group: u64,
    /// Units that it has served in each second of late.
    pub read: f64,
    /// Likewise.
    pub write: f64,
    /// The share of them that its busiest key had; zero if it is not known.
    pub busiest_key: f64,
    /// Its bytes.
    pub bytes: u64,
    /// The width of its range, in hashes.
    pub span: u64,
    /// When it was born, cut or enlarged, in epoch milliseconds.
    pub changed_ms: u64,
    /// What is being done with it already: it is left alone until that is over.
    pub change: Option<Change>,
}

/// What is being done with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is being split: soon there is one more.
    Split,
    /// It absorbs the one that follows it: soon there is one less.
    Merge,
    /// It is being moved or absorbed.
    Other,
}

/// A table (or a global index) as it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Units that it has to be ready for; none on demand, unless it is kept warm.
    pub units: Throughput,
    /// Its partitions, in key order.
    pub partitions: Vec<Partition>,
}

/// What one step tells the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Since when partitions are hot.
    hot_since_ms: BTreeMap<u64, u64>,
    /// Those of which it was said that one key is what makes them hot.
    reported: BTreeSet<u64>,
    /// Since when there are more partitions than asked for.
    too_many_since_ms: Option<u64>,
}

impl Memory {
    /// Since when there are more partitions than asked for.
    pub fn too_many_since_ms(&self) -> Option<u64> {
        self.too_many_since_ms
    }
}

/// Where a partition is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// At the middle of its bytes; of its range while it holds nothing.
    Bytes,
    /// At the middle of its load.
    Load,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Cut this partition.
    Split {
        /// Which.
        group: u64,
        /// Where.
        cut: Cut,
    },
    /// Let the first absorb the second, which follows it.
    Merge {
        /// Which stays.
        group: u64,
        /// Which goes.
        absorbed: u64,
    },
    /// Nothing helps: one key is hot.
    Report {
        /// Where.
        group: u64,
    },
}

/// Why.
#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// The units ask for more (or fewer) partitions.
    Units {
        /// The units.
        units: Throughput,
        /// As many are asked for.
        asked: u64,
        /// As many are there.
        there: u64,
    },
    /// The bytes of the table ask for more partitions, or those of a partition are too many.
    Size {
        /// Of the partition.
        bytes: u64,
        /// It may have.
        limit: u64,
    },
    /// It is hot.
    Heat {
        /// Part of what it can.
        heat: f64,
        /// For how long.
        for_ms: u64,
    },
    /// One key is hot.
    Key {
        /// Part of what the partition can.
        heat: f64,
        /// The key's share of that.
        share: f64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f64| (part * 100.0).round() as u64;
        match self {
            Self::Units { units, asked, there } => write!(
                f,
                "units: {} RCU and {} WCU ask for {}, there are {there}",
                units.read,
                units.write,
                amounts::count(*asked, "partition")
            ),
            Self::Size { bytes, limit } => write!(
                f,
                "size: it holds {} of at most {}",
                amounts::bytes(*bytes),
                amounts::bytes(*limit)
            ),
            Self::Heat { heat, for_ms } => write!(
                f,
                "heat: it serves {} % of what a partition can, for {} s",
                percent(*heat),
                for_ms / 1000
            ),
            Self::Key { heat, share } => write!(
                f,
                "heat: it serves {} % of what a partition can, {} % of that for one key: a split would not help",
                percent(*heat),
                percent(*share)
            ),
        }
    }
}

/// An action and its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is to be done.
    pub action: Action,
    /// Why.
    pub why: Why,
}

/// Partitions that units and bytes ask for, within the bound.
pub fn target(units: Throughput, bytes: u64, limits: &Limits) -> u64 {
    let by_bytes = bytes.div_ceil(limits.bytes.max(1));
    limits
        .partitions()
        .for_units(units)
        .max(by_bytes)
        .clamp(1, limits.partitions_max.max(1))
}

/// Which part of what a partition can serve it does serve.
fn heat(partition: &Partition, limits: &Limits) -> f64 {
    partition.read / limits.units.read.max(1) as f64 + partition.write / limits.units.write.max(1) as f64
}

/// One step.
pub fn step(table: &Measured, memory: &Memory, limits: &Limits, now_ms: u64) -> (Vec<Decision>, Memory) {
    let bytes = table.partitions.iter().map(|partition| partition.bytes).sum();
    let changes = || table.partitions.iter().filter_map(|partition| partition.change);
    let under_way = |wanted: Change| changes().filter(|change| *change == wanted).count() as u64;
    let there = table.partitions.len() as u64 + under_way(Change::Split);
    let mut step = Step {
        table,
        limits,
        now_ms,
        asked: target(table.units, bytes, limits),
        there,
        leaving: under_way(Change::Merge),
        left: limits.changes_at_once.saturating_sub(changes().count()),
        taken: table
            .partitions
            .iter()
            .map(|partition| partition.change.is_some())
            .collect(),
        decisions: Vec::new(),
    };
    let mut remembered = step.remember(memory);
    step.split_large();
    step.split_for_units();
    step.split_hot(&mut remembered);
    if step.there == there {
        step.merge(&remembered);
    }
    (step.decisions, remembered)
}

struct Step<'a> {
    table: &'a Measured,
    limits: &'a Limits,
    now_ms: u64,
    /// Partitions that units and bytes ask for.
    asked: u64,
    /// Partitions that there will be once every split is done that is under way or decided.
    there: u64,
    /// As many of them will be gone once every merge is done that is under way or decided.
    leaving: u64,
    /// So many more may change.
    left: usize,
    /// By place: it changes already.
    taken: Vec<bool>,
    decisions: Vec<Decision>,
}

impl Step<'_> {
    fn remember(&self, memory: &Memory) -> Memory {
        let hot = self.table.partitions.iter();
        let hot = hot.filter(|partition| heat(partition, self.limits) > self.limits.hot);
        let since = |group: &u64| memory.hot_since_ms.get(group).copied().unwrap_or(self.now_ms);
        let hot_since_ms: BTreeMap<u64, u64> = hot.map(|hot| (hot.group, since(&hot.group))).collect();
        let too_many = self.there - self.leaving > self.asked;
        Memory {
            reported: memory
                .reported
                .iter()
                .copied()
                .filter(|group| hot_since_ms.contains_key(group))
                .collect(),
            hot_since_ms,
            too_many_since_ms: too_many.then(|| memory.too_many_since_ms.unwrap_or(self.now_ms)),
        }
    }

    /// Whether another partition may come, of at most so many.
    fn may_grow(&self, most: u64) -> bool {
        self.left > 0 && self.there < most.min(self.limits.partitions_max)
    }

    fn split(&mut self, place: usize, cut: Cut, why: Why) {
        let group = self.table.partitions[place].group;
        self.taken[place] = true;
        self.left -= 1;
        self.there += 1;
        self.decisions.push(Decision {
            action: Action::Split { group, cut },
            why,
        });
    }

    fn split_large(&mut self) {
        for place in 0..self.table.partitions.len() {
            let (bytes, limit) = (self.table.partitions[place].bytes, self.limits.bytes);
            if bytes > limit && !self.taken[place] && self.may_grow(u64::MAX) {
                self.split(place, Cut::Bytes, Why::Size { bytes, limit });
            }
        }
    }

    /// What a partition has to do: by heat or bytes, whichever is more.
    fn burden(&self, partitions: &[Partition]) -> f64 {
        let hot: f64 = partitions.iter().map(|partition| heat(partition, self.limits)).sum();
        let bytes: f64 = partitions.iter().map(|partition| partition.bytes as f64).sum();
        hot.max(bytes / self.limits.bytes.max(1) as f64)
    }

    /// Those with most to do first; of those that have nothing to do, those with the widest range.
    fn split_for_units(&mut self) {
        if self.there >= self.asked {
            return;
        }
        let partitions = &self.table.partitions;
        let mut places: Vec<usize> = (0..partitions.len()).filter(|place| !self.taken[*place]).collect();
        let rank = |place: &usize| (self.burden(&partitions[*place..=*place]), partitions[*place].span);
        places.sort_by(|one, other| {
            let (one, other) = (rank(one), rank(other));
            other.0.total_cmp(&one.0).then(other.1.cmp(&one.1))
        });
        for place in places {
            if !self.may_grow(self.asked) {
                return;
            }
            let why = Why::Units {
                units: self.table.units,
                asked: self.asked,
                there: self.there,
            };
            self.split(place, Cut::Bytes, why);
        }
    }

    fn split_hot(&mut self, memory: &mut Memory) {
        let most = self.asked.saturating_mul(HEAT_FACTOR).saturating_add(HEAT_EXTRA);
        for place in 0..self.table.partitions.len() {
            let partition = &self.table.partitions[place];
            let Some(since) = memory.hot_since_ms.get(&partition.group) else {
                continue;
            };
            let for_ms = self.now_ms.saturating_sub(*since);
            // A partition that was cut is measured anew before it is cut again.
            let measured_ms = self.now_ms.saturating_sub(partition.changed_ms).min(for_ms);
            if measured_ms < self.limits.hot_for_ms || self.taken[place] {
                continue;
            }
            let heat = heat(partition, self.limits);
            if partition.busiest_key < HOT_KEY_SHARE {
                if self.may_grow(most) {
                    self.split(place, Cut::Load, Why::Heat { heat, for_ms });
                }
            } else if memory.reported.insert(partition.group) {
                let share = partition.busiest_key;
                self.decisions.push(Decision {
                    action: Action::Report { group: partition.group },
                    why: Why::Key { heat, share },
                });
            }
        }
    }

    /// Neighbours with the least to do first.
    fn merge(&mut self, memory: &Memory) {
        let for_ms = memory.too_many_since_ms.map(|since| self.now_ms.saturating_sub(since));
        if for_ms.is_none_or(|for_ms| for_ms < self.limits.cool_down_ms) {
            return;
        }
        let mut pairs: Vec<(usize, f64)> = (1..self.table.partitions.len())
            .map(|second| second - 1)
            .filter(|first| self.may_merge(*first))
            .map(|first| (first, self.burden(&self.table.partitions[first..first + 2])))
            .collect();
        pairs.sort_by(|one, other| one.1.total_cmp(&other.1));
        for (first, _) in pairs {
            let there = self.there - self.leaving;
            if there <= self.asked || self.left == 0 {
                return;
            }
            if self.taken[first] || self.taken[first + 1] {
                continue;
            }
            (self.taken[first], self.taken[first + 1]) = (true, true);
            let why = Why::Units {
                units: self.table.units,
                asked: self.asked,
                there,
            };
            self.left -= 1;
            self.leaving += 1;
            let action = Action::Merge {
                group: self.table.partitions[first].group,
                absorbed: self.table.partitions[first + 1].group,
            };
            self.decisions.push(Decision { action, why });
        }
    }

    fn may_merge(&self, first: usize) -> bool {
        let both = &self.table.partitions[first..first + 2];
        let hot: f64 = both.iter().map(|partition| heat(partition, self.limits)).sum();
        let bytes: f64 = both.iter().map(|partition| partition.bytes as f64).sum();
        let rested =
            |partition: &Partition| self.now_ms.saturating_sub(partition.changed_ms) >= self.limits.cool_down_ms;
        both.iter().all(rested) && hot <= self.limits.idle && bytes <= self.limits.bytes as f64 * self.limits.small
    }
}
